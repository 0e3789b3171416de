"""Chunk by chunk is the same as at once, and a causal network never sees the future."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import PellucidError, RecipeError
from pellucid.nn import SEANetDecoder, SEANetEncoder
from pellucid.nn.snake import Snake

SMALL = {"strides": (2, 3), "width": 6, "dilations": (1, 3)}


def pair(**changes) -> tuple[SEANetEncoder, SEANetDecoder]:
    torch.manual_seed(0)
    keywords = {**SMALL, **changes}
    return (
        SEANetEncoder(1, channels=5, **keywords).double().eval(),
        SEANetDecoder(5, 1, **keywords).double().eval(),
    )


def split_frames(total: int, sizes: list[int]) -> list[int]:
    """Return chunk sizes that sum to `total`, cycling through `sizes`."""
    chunks, index = [], 0
    while sum(chunks) < total:
        chunks.append(min(sizes[index % len(sizes)], total - sum(chunks)))
        index += 1
    return chunks


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from(["elu", "snake"]),
    st.sampled_from([1, 4]),
    st.booleans(),
)
@torch.no_grad()
def test_any_chunks_give_what_the_whole_gives(
    sizes: list[int], activation: str, patch: int, linear: bool
) -> None:
    encoder, decoder = pair(activation=activation, patch=patch, linear=linear, rms=0.1)
    x = torch.randn(2, 1, 20 * encoder.stride).double()
    h = encoder(x)
    x_hat = decoder(h)
    chunks = split_frames(20, sizes)
    state_e = state_d = None
    frames, samples = [], []
    for part in x.split([n * encoder.stride for n in chunks], -1):
        frame, state_e = encoder.stream(part, state_e)
        sample, state_d = decoder.stream(frame, state_d)
        frames.append(frame)
        samples.append(sample)
    torch.testing.assert_close(torch.cat(frames, -1), h, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(torch.cat(samples, -1).double(), x_hat.double(), atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_state_is_not_changed_by_the_chunk_that_uses_it() -> None:
    encoder, _ = pair()
    x = torch.randn(1, 1, 30).double()
    _, state = encoder.stream(x[..., :12], None)
    first, _ = encoder.stream(x[..., 12:], state)
    again, _ = encoder.stream(x[..., 12:], state)
    assert torch.equal(first, again)


@torch.no_grad()
def test_a_causal_codec_ignores_the_future_and_another_does_not() -> None:
    for causal in (True, False):
        encoder, decoder = pair(causal=causal, linear=True)
        x = torch.randn(1, 1, 20 * encoder.stride).double()
        later = x.clone()
        later[..., 10 * encoder.stride :] += 1.0
        before = decoder(encoder(x))[..., : 10 * encoder.stride]
        after = decoder(encoder(later))[..., : 10 * encoder.stride]
        assert torch.equal(before, after) is causal


@torch.no_grad()
def test_silence_decodes_to_silence_without_biases() -> None:
    """The last convolution has none, so the offset of silence is what earlier biases make."""
    _, decoder = pair()
    for name, parameter in decoder.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
    assert decoder(torch.zeros(1, 5, 7).double()).abs().max() == 0
    assert not any("bias" in name for name, _ in decoder.final.named_parameters())


def test_only_causal_networks_stream() -> None:
    encoder, decoder = pair(causal=False)
    with pytest.raises(PellucidError, match="causal"):
        encoder.stream(torch.zeros(1, 1, 12).double(), None)
    with pytest.raises(PellucidError, match="causal"):
        decoder.stream(torch.zeros(1, 5, 2).double(), None)


def test_a_length_that_is_no_frame_is_refused_with_the_nearest_that_is() -> None:
    encoder, _ = pair()
    with pytest.raises(PellucidError, match="12 or 18"):
        encoder(torch.zeros(1, 1, 14).double())


@pytest.mark.parametrize("wrong", [{"strides": ()}, {"strides": (0, 2)}, {"widest": 2}])
def test_sizes_that_make_no_network_are_refused(wrong: dict) -> None:
    with pytest.raises(RecipeError, match="no network"):
        SEANetEncoder(**{**SMALL, **wrong})


def test_snake_is_its_formula_and_rises() -> None:
    snake = Snake(3).double()
    with torch.no_grad():
        snake.log_alpha.copy_(torch.tensor([-1.0, 0.0, 1.5]))
    x = torch.linspace(-5, 5, 400).double().expand(1, 3, 400)
    alpha = snake.log_alpha.exp()[:, None]
    torch.testing.assert_close(snake(x), x + torch.sin(alpha * x) ** 2 / alpha)
    assert (snake(x).diff() > -1e-9).all()  # derivative 1 + sin(2αx) ≥ 0
