"""Two players, one training: no gradient crosses over, and resume gives both back bit for bit."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import TinyImages, tiny_adversary, tiny_fit, tiny_model, tiny_objective
from torch import nn
from torch.utils.data import Dataset

from pellucid.bottlenecks.rvq import RVQ
from pellucid.errors import NonFiniteError, RecipeError, RunError
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn import SEANetDecoder, SEANetEncoder
from pellucid.nn.discriminators import (
    Discriminators,
    Judgement,
    PatchDiscriminator,
    PeriodDiscriminator,
    SpectralDiscriminator,
)
from pellucid.objectives import L1, L2, Balancer, Objective, Weighted
from pellucid.run_folder import RunFolder
from pellucid.training.adversary import Adversary
from pellucid.training.estimate import estimate
from pellucid.training.module import TrainingModule
from pellucid.training.opponent import Opponent
from pellucid.training.selection import Selection

STEPS, START = 12, 4


class Linear(nn.Module):
    """D(x) = a · mean(x) + b per sample; its one feature is a · mean(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7))
        self.b = nn.Parameter(torch.tensor(-0.2))

    def forward(self, x: torch.Tensor) -> Judgement:
        feature = self.a * x.flatten(1).mean(1, keepdim=True)
        return Judgement([feature + self.b], [[feature]])


def opponent_of(discriminator: nn.Module, *, accumulate: int = 1, **keywords: Any) -> Opponent:
    return Opponent(
        Adversary(discriminator, **keywords),
        steps=20,
        warmup_steps=0,
        final_learning_rate=1.0,
        accumulate=accumulate,
        precision="float32",
    )


def players(loss: str, **keywords: Any):
    """Return an opponent and x̂ = g · u for one weight g of an "autoencoder"."""
    generator = torch.Generator().manual_seed(0)
    x, u = (torch.randn(5, 1, 8, generator=generator) for _ in range(2))
    weight = torch.tensor(0.5, requires_grad=True)
    return opponent_of(Linear(), loss=loss, **keywords), weight, weight * u, x, u


# ---- no leak: gradients by hand ---------------------------------------------------------------


@pytest.mark.parametrize("loss", ["hinge", "least-squares"])
def test_each_player_gets_the_gradient_of_its_own_loss(loss):
    opponent, weight, x_hat, x, u = players(loss, weight=1.0, feature_weight=0.0)
    contest = opponent.contest(x_hat, x, step=0, learns=True)
    discriminator: Any = opponent.discriminator
    assert weight.grad is None  # the discriminator's backward ended at x̂
    a, b = 0.7, -0.2
    m, n = x.flatten(1).mean(1), x_hat.detach().flatten(1).mean(1)
    real, fake = a * m + b, a * n + b
    if loss == "hinge":
        d_real, d_fake = -(real < 1).float(), (fake > -1).float()
        g_fake = -(fake < 1).float()
    else:
        d_real, d_fake = -2 * (1 - real), 2 * fake
        g_fake = -2 * (1 - fake)
    by_hand = {"a": (d_real * m + d_fake * n).mean(), "b": (d_real + d_fake).mean()}
    own = {"a": discriminator.a.grad.clone(), "b": discriminator.b.grad.clone()}
    torch.testing.assert_close(own, by_hand)
    contest.terms["adversarial"].value.backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, (g_fake * a * u.flatten(1).mean(1)).mean())
    # the autoencoder's backward passed through D and left nothing there
    assert torch.equal(discriminator.a.grad, own["a"])
    assert torch.equal(discriminator.b.grad, own["b"])


def test_micro_batches_add_up_to_one_batch():
    whole, _, x_hat, x, _ = players("least-squares")
    parts = opponent_of(Linear(), loss="least-squares", accumulate=5)
    whole.contest(x_hat, x, step=0, learns=True)
    for one, other in zip(x_hat.split(1), x.split(1), strict=True):
        parts.contest(one, other, step=0, learns=True)
    torch.testing.assert_close(parts.gradient_norm(), whole.gradient_norm())


def test_a_step_leaves_no_gradient_behind_and_the_generators_never_arrives():
    opponent, _, x_hat, x, _ = players("hinge")
    opponent.contest(x_hat, x, step=0, learns=True)
    opponent.gradient_norm()
    opponent.take_step(0)
    assert all(p.grad is None for p in opponent.discriminator.parameters())
    before = copy.deepcopy(opponent.discriminator.state_dict())
    contest = opponent.contest(x_hat, x, step=1, learns=False)
    sum(term.value for term in contest.terms.values()).backward()
    assert opponent.gradient_norm() == 0
    opponent.take_step(1)
    assert all(torch.equal(v, before[k]) for k, v in opponent.discriminator.state_dict().items())
    assert all(p.requires_grad for p in opponent.discriminator.parameters())


def test_bf16_scores_do_not_leak_through_the_cache_of_casts():
    opponent, _, _, x, _ = players("hinge")
    opponent = opponent_of(PeriodDiscriminator(periods=(2,), width=2, widest=4))
    opponent.compute = "bf16"
    x = x.repeat(1, 1, 20)
    x_hat = x.clone().requires_grad_()
    contest = opponent.contest(x_hat, x, step=0, learns=True)
    own = [p.grad.clone() for p in opponent.discriminator.parameters() if p.grad is not None]
    sum(term.value for term in contest.terms.values()).backward()
    after = [p.grad for p in opponent.discriminator.parameters() if p.grad is not None]
    assert len(own) == len(list(opponent.discriminator.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(own, after, strict=True))


def test_the_discriminators_rate_follows_its_own_clock():
    opponent = Opponent(
        Adversary(Linear(), start_step=10, learning_rate=1.0),
        steps=30,
        warmup_steps=4,
        final_learning_rate=0.0,
        accumulate=1,
        precision="float32",
    )
    assert opponent.learning_rate(10) == pytest.approx(1 / 5)
    assert opponent.learning_rate(14) == pytest.approx(1.0)
    assert opponent.learning_rate(22) == pytest.approx(0.5)
    assert opponent.learning_rate(30) == pytest.approx(0.0, abs=1e-9)


def test_two_of_three_steps_and_a_ramp():
    adversary = Adversary(Linear(), start_step=5, updates=2, period=3, ramp_steps=3)
    assert [adversary.learns(step) for step in range(3, 12)] == [
        *(False, False),
        *(True, True, False, True, True, False, True),
    ]
    assert [adversary.ramp(step) for step in (5, 6, 8, 50)] == [0.25, 0.5, 1.0, 1.0]


# ---- whole trainings ----------------------------------------------------------------------------


class TinyWaves(Dataset[Any]):
    """Chords, the input noisy as a pure function of (index, epoch)."""

    def __init__(self, n: int = 16, length: int = 256) -> None:
        generator = torch.Generator().manual_seed(2)
        t = torch.arange(length) / length
        pitch = 3 + 30 * torch.rand(n, 2, 1, generator=generator)
        self.waves = 0.4 * torch.sin(2 * torch.pi * pitch * t).sum(1, keepdim=True)

    def __len__(self) -> int:
        return len(self.waves)

    def __getitem__(self, address: int | tuple[int, int]) -> dict[str, Any]:
        index, epoch = address if isinstance(address, tuple) else (address, 0)
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        target = self.waves[index]
        x = target + 0.01 * torch.randn(target.shape, generator=generator)
        return {"x": x, "target": target, "index": index, "group": f"clip-{index}"}


def tiny_codec() -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Autoencoder(
            SEANetEncoder(1, channels=6, strides=(4,), width=4),
            RVQ(6, levels=2, codes=8, dim=4, dropout=0.5),
            SEANetDecoder(6, 1, strides=(4,), width=4),
        )


def adversary_for(kind: str, **keywords: Any) -> Adversary:
    settings = {"start_step": START, "updates": 2, "period": 3} | keywords
    if kind == "images":
        return tiny_adversary(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        parts = [
            PeriodDiscriminator(periods=(2, 3), width=2, widest=8),
            SpectralDiscriminator(windows=(64,), bands=((0.0, 0.5), (0.5, 1.0)), width=2),
        ]
    return Adversary(Discriminators(parts), **({"learning_rate": 1e-3} | settings))


def objective_with(balancer: bool) -> Objective:
    terms = {"l1": Weighted(L1(), 1.0), "l2": Weighted(L2(), 0.5)}
    names = [*terms, "adversarial", "features"]
    return Objective(terms, balancer=Balancer(names, decay=0.9) if balancer else None)


def train(folder: Path, kind: str = "images", **changes: Any) -> dict[str, Any]:
    """Fit with an adversary; return what was handed in."""
    given: dict[str, Any] = {"steps": STEPS, "log_every": 1, "objective": tiny_objective()}
    if kind == "waveforms":
        waves = TinyWaves()
        given |= {"model": tiny_codec(), "train_set": waves, "validation_set": waves}
        given |= {"monitor": "snr", "clip_norm": 5.0}
    else:
        given |= {"model": tiny_model("vq")}
    given |= {"adversary": adversary_for(kind)} | changes
    tiny_fit(folder, **given)
    return given


def values_by_step(folder: Path) -> dict[int, dict[str, float]]:
    lines = RunFolder(folder).read_metrics()
    return {line["step"]: line["values"] for line in lines if line["split"] == "train"}


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.relative_to(folder)}:{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


@pytest.mark.parametrize("kind", ["images", "waveforms"])
def test_the_adversary_starts_when_told_and_is_logged_like_any_term(tmp_path, kind):
    adversary = adversary_for(kind, start_step=6)
    before = copy.deepcopy(adversary.discriminator.state_dict())
    train(tmp_path, kind, adversary=adversary, gradient_shares_every=4)
    after = adversary.discriminator.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    logged = values_by_step(tmp_path)
    for step, values in logged.items():
        plays = step > 6
        assert ("terms.adversarial.value" in values) == plays
        assert ("terms.features.weighted" in values) == plays
        assert ("adversary.loss" in values) == plays
    shares = logged[8]
    assert 0 < shares["terms.adversarial.gradient_share"] < 1
    assert 0 < shares["terms.features.latent_gradient_share"] < 1
    assert logged[7]["adversary.loss"] == pytest.approx(2.0, abs=0.5)  # hinge, knowing nothing
    lines = RunFolder(tmp_path).read_metrics()
    held = [line["values"] for line in lines if line["split"] == "validation"]
    assert held
    assert not any("adversar" in name for values in held for name in values)


def test_before_its_start_the_discriminator_does_not_move(tmp_path, monkeypatch):
    adversary = adversary_for("images", start_step=6)
    before = copy.deepcopy(adversary.discriminator.state_dict())
    moved: dict[int, bool] = {}
    step = TrainingModule.optimizer_step

    def watched(self, *args, **kwargs):
        old = copy.deepcopy(adversary.discriminator.state_dict())
        step(self, *args, **kwargs)
        new = adversary.discriminator.state_dict()
        moved[self.step] = any(not torch.equal(old[name], new[name]) for name in old)
        if self.step <= 6:
            assert all(torch.equal(before[name], new[name]) for name in before)

    monkeypatch.setattr(TrainingModule, "optimizer_step", watched)
    train(tmp_path, adversary=adversary)
    assert [k for k, v in moved.items() if v] == [7, 8, 10, 11]  # 2 of every 3 steps from 6


def test_an_observing_adversary_leaves_the_autoencoder_bit_for_bit(tmp_path):
    watching = adversary_for("images", weight=0.0, feature_weight=0.0)
    train(tmp_path / "watched", adversary=watching)
    train(tmp_path / "alone", adversary=None)
    watched, alone = (tensors_of(tmp_path / name) for name in ("watched", "alone"))
    assert len(alone) > 20
    assert not any("adversary" in name for name in alone)
    of_last = [name for name in alone if "checkpoints/last" in name]
    assert [name for name in of_last if not torch.equal(watched[name], alone[name])] == []
    state = json.loads((tmp_path / "alone/checkpoints/last/state.json").read_text())
    assert "adversary" not in [key for key, _ in state["state"]["dict"]]


@pytest.mark.parametrize("kind", ["images", "waveforms"])
def test_a_frozen_encoder_stays_while_the_decoder_learns(tmp_path, monkeypatch, kind):
    model = tiny_model("vq") if kind == "images" else tiny_codec()
    states: dict[int, dict[str, torch.Tensor]] = {}
    step = TrainingModule.optimizer_step

    def watched(self, *args, **kwargs):
        step(self, *args, **kwargs)
        states[self.step] = copy.deepcopy(model.state_dict())

    monkeypatch.setattr(TrainingModule, "optimizer_step", watched)
    train(tmp_path, kind, model=model, adversary=adversary_for(kind, freeze_encoder=True))
    first, last = states[START], states[STEPS]
    moved = {name.split(".")[0] for name in first if not torch.equal(first[name], last[name])}
    assert moved == {"decoder"}
    earlier = states[1]
    moved = {name.split(".")[0] for name in first if not torch.equal(first[name], earlier[name])}
    assert moved == {"encoder", "bottleneck", "decoder"}


RESUMED: dict[str, dict[str, Any]] = {
    "images": {},
    "waveforms": {"kind": "waveforms"},
    "images, balanced, accumulated": {"balanced": True, "accumulate": 2, "batch_size": 2},
    "waveforms, balanced, frozen": {"kind": "waveforms", "balanced": True, "frozen": True},
}


@pytest.mark.parametrize("name", RESUMED)
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, monkeypatch, name):
    settings = dict(RESUMED[name])
    kind, balancer = settings.pop("kind", "images"), settings.pop("balanced", False)
    frozen = settings.pop("frozen", False)

    def run(folder: Path, **changes: Any) -> dict[str, Any]:
        adversary = adversary_for(kind, freeze_encoder=frozen)
        objective = objective_with(balancer)
        given = settings | {"adversary": adversary, "objective": objective} | changes
        return train(folder, kind, **given)

    whole = run(tmp_path / "whole")
    step = TrainingModule.training_step

    def failing(self, batch, batch_idx):
        if self.step == 9:
            raise RuntimeError("the power went")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", failing)
        with pytest.raises(RuntimeError, match="the power went"):
            run(tmp_path / "cut", checkpoint_every=7)
    resumed = run(tmp_path / "cut", checkpoint_every=7, resume=True)
    ours, theirs = tensors_of(tmp_path / "cut"), tensors_of(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    kept = [name for name in ours if "adversary" in name]
    assert any("exp_avg_sq" in name for name in kept)
    assert any("discriminator" in name for name in kept)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    live, expected = (g["adversary"].discriminator.state_dict() for g in (resumed, whole))
    assert all(torch.equal(live[name], expected[name]) for name in expected)
    losses = [
        {k: v["adversary.loss"] for k, v in values_by_step(path).items() if k > START}
        for path in (tmp_path / "cut", tmp_path / "whole")
    ]
    assert losses[0] == losses[1]


def test_an_adversary_may_join_a_run_and_another_one_is_refused(tmp_path):
    train(tmp_path, adversary=None, steps=6)
    train(tmp_path, steps=STEPS, resume=True)
    assert "terms.adversarial.value" in values_by_step(tmp_path)[STEPS]
    other = Adversary(Discriminators([PatchDiscriminator(3, width=6, layers=2)]))
    with pytest.raises(RunError, match="another discriminator"):
        train(tmp_path, steps=STEPS + 2, resume=True, adversary=other)


def test_a_broken_discriminator_stops_both_players_and_is_named(tmp_path):
    adversary = adversary_for("images", start_step=3)
    with torch.no_grad():
        adversary.discriminator.parts[0].scales[0].score.bias.fill_(float("nan"))
    before = copy.deepcopy(adversary.discriminator.state_dict())
    model = tiny_model()
    with pytest.raises(NonFiniteError, match=r"step 4 .*\n?.*of the discriminator"):
        train(tmp_path, adversary=adversary, model=model, checkpoint_every=3)
    after = adversary.discriminator.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if "score.bias" not in k)
    kept = load_file(tmp_path / "checkpoints/last/tensors.safetensors")
    live = model.state_dict()
    assert all(torch.equal(live[k], kept[f"state_dict/autoencoder.{k}"]) for k in live)


def test_an_adversary_that_would_never_start_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="never start"):
        train(tmp_path, adversary=adversary_for("images", start_step=STEPS))


def test_the_search_for_the_best_begins_again_with_the_adversary():
    selection = Selection("psnr", patience=2, since=10)
    assert selection.take({"psnr": 30.0}, 4)
    for step in (5, 6, 8, 10):
        assert not selection.take({"psnr": 20.0}, step)
    assert not selection.exhausted  # patience is spent in the second stage only
    assert selection.take({"psnr": 25.0}, 12)
    assert (selection.best, selection.best_step) == (25.0, 12)
    assert not selection.take({"psnr": 24.0}, 14)
    assert not selection.take({"psnr": 23.0}, 16)
    assert selection.exhausted


def test_an_estimate_counts_the_discriminator_and_leaves_it_alone():
    adversary = adversary_for("images", start_step=0)
    before = copy.deepcopy(adversary.discriminator.state_dict())
    keywords = {"steps": 10, "batch_size": 4, "accelerator": "cpu", "threads": 1}
    sizes = [
        estimate(tiny_model(), tiny_objective(), TinyImages(), adversary=rival, keywords=keywords)
        for rival in (None, adversary)
    ]
    weights = 4 * sum(p.numel() for p in adversary.discriminator.parameters())
    assert sizes[1].weight_bytes - sizes[0].weight_bytes == weights
    assert sizes[1].optimizer_bytes - sizes[0].optimizer_bytes >= 2 * weights
    after = adversary.discriminator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"weight": -1.0}, "weight"),
        ({"updates": 3, "period": 2}, "updates"),
        ({"start_step": -1}, "start_step"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"clip_norm": 0.0}, "clip_norm"),
    ],
)
def test_settings_without_a_meaning_are_refused(keywords, name):
    with pytest.raises(RecipeError, match=f"'{name}' has no meaning"):
        Adversary(Linear(), **keywords)
