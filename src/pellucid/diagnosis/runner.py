"""Run a subject's functions batch by batch, whatever dtype, device or batch size they insist on.

Shape letters: N samples, B one batch, C channels, P positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pellucid.diagnosis.latents import as_latent, as_output
from pellucid.diagnosis.subject import Subject
from pellucid.errors import PellucidError
from pellucid.records import Latent

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class Runner:
    """Call encode, decode and forward on CPU float32 tensors of any length.

    Args:
        subject: what is diagnosed.
        x_NCP: samples to find out with which batch size, dtype and device the model runs.
        batch: the loader's batch size, tried first.

    Raises:
        PellucidError: when the model runs with none of them, or its shapes disagree.
    """

    def __init__(self, subject: Subject, x_NCP: Tensor, batch: int | None = None) -> None:
        self.subject = subject
        self.length_change: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self.device, dtype = _home(subject)
        dtypes = [dtype, *(d for d in _DTYPES if d != dtype)] if dtype else list(_DTYPES)
        sizes = _sizes(batch, x_NCP)
        failures: list[str] = []
        for size in sizes:
            for candidate in dtypes:
                self.batch, self.dtype = size, candidate
                problem = self._trial(x_NCP)
                if problem is None:
                    return
                failures.append(f"batch {size}, {str(candidate).removeprefix('torch.')}: {problem}")
        raise PellucidError(
            "the model could not be run on the data",
            where="Subject.encode / Subject.decode",
            expected=f"encode and decode to accept batches of {tuple(x_NCP.shape[1:])}",
            found=failures[0],
            hint=f"tried batch sizes {sizes} and {len(dtypes)} dtypes",
        )

    def _trial(self, x_NCP: Tensor) -> str | None:
        """Encode and decode one batch; return what went wrong."""
        try:
            x = next(self._batches(x_NCP))[0]
            with torch.no_grad():
                self.decode_live(decoded_latent(self.encode_live(x)), x)
        except PellucidError:
            raise
        except Exception as error:  # anything foreign code raises is the answer of this trial
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return None

    def shrink(self, size: int, x_NCP: Tensor) -> None:
        """Use smaller batches from now on, if the model takes them."""
        before, self.batch = self.batch, max(1, min(size, self.batch))
        if self.batch != before and self._trial(x_NCP) is not None:
            self.batch = before

    def to_model(self, x: Tensor) -> Tensor:
        """Move a float tensor to the model's device and dtype."""
        return x.to(self.device, self.dtype) if x.is_floating_point() else x.to(self.device)

    def encode_live(self, x_BCP: Tensor) -> Latent:
        """Encode one batch that is already on the model's device, keeping gradients."""
        # A copy, for code that changes its input in place must not change ours.
        latent = as_latent(self.subject.encode(x_BCP.clone()))
        _check_latent(latent, x_BCP)
        return latent

    def decode_live(self, z_BdP: Tensor, like_BCP: Tensor) -> Tensor:
        """Decode one batch that is already on the model's device, keeping gradients."""
        decode_at = self.subject.decode_at
        z_BdP = z_BdP.clone()
        found = self.subject.decode(z_BdP) if decode_at is None else decode_at(z_BdP, like_BCP)
        x_hat = as_output(found, like_BCP)
        if x_hat.ndim == 0 or len(x_hat) != len(z_BdP):
            raise PellucidError(
                "decode changed the number of samples",
                where="Subject.decode",
                expected=f"{len(z_BdP)} reconstructions, batch first",
                found=tuple(x_hat.shape),
            )
        return self._fitted(x_hat, like_BCP)

    def _fitted(self, x_hat: Tensor, like: Tensor) -> Tensor:
        """Cut or pad an output that is a little too long or short, and remember that it was.

        Raises:
            PellucidError: when its shape is another one altogether.
        """
        if x_hat.shape[1:] == like.shape[1:]:
            return x_hat
        sizes = list(zip(x_hat.shape[2:], like.shape[2:], strict=False))
        near = x_hat.ndim == like.ndim > 2 and x_hat.shape[1] == like.shape[1]
        if not near or any(abs(a - b) > 0.1 * b for a, b in sizes):
            raise PellucidError(
                "decode does not return what encode was given",
                where="Subject.decode",
                expected=f"x_hat shaped {tuple(like.shape[1:])} per sample",
                found=f"{tuple(x_hat.shape[1:])}, from a latent of the input's own encoding",
            )
        self.length_change = (tuple(like.shape[2:]), tuple(x_hat.shape[2:]))
        padding = [n for a, b in reversed(sizes) for n in (0, b - a)]
        return torch.nn.functional.pad(x_hat, padding)

    def encode(self, x_NCP: Tensor) -> Latent:
        """Encode any number of samples without gradients; the result is on the CPU in float32."""
        with torch.no_grad():
            return _join_latents([(self.encode_live(x), n) for x, n in self._batches(x_NCP)])

    def roundtrip(
        self, x_NCP: Tensor, alter: Callable[[Tensor, Latent, int], Tensor] | None = None
    ) -> tuple[Latent, Tensor]:
        """Encode and decode batch by batch, so that state hidden between the two is met.

        Args:
            x_NCP: any number of samples.
            alter: (what the decoder would receive, the latent, index of the batch's first sample)
                -> what it receives instead, on the model's device.

        Returns:
            The latents and the reconstructions, on the CPU in float32, without gradients.

        Raises:
            PellucidError: when the model takes some samples as they are and breaks on others.
        """
        latents, outputs, start = [], [], 0
        with torch.no_grad():
            for x, count in self._batches(x_NCP):
                latent = None
                try:
                    latent = self.encode_live(x)
                    z = decoded_latent(latent)
                    z = z if alter is None else alter(z, latent, start)
                    outputs.append((self.decode_live(z, x), count))
                except Exception as error:  # foreign code may raise anything
                    if alter is not None or isinstance(error, PellucidError):
                        raise
                    samples = (start, start + count)
                    raise _refusal(error, samples, latent, [c for c, _ in latents]) from error
                latents.append((latent, count))
                start += count
        joined = _join(outputs)
        assert joined is not None
        return _join_latents(latents), joined

    def decode(self, z_NdP: Tensor, like_NCP: Tensor) -> Tensor:
        """Decode any number of latents without gradients; the result is on the CPU in float32.

        Args:
            z_NdP: latents.
            like_NCP: the samples they belong to, where there are as many; else samples whose
                shape (and places) the answers take.
        """
        with torch.no_grad():
            parts, start = [], 0
            for z, count in self._batches(z_NdP):
                rows = torch.arange(start, start + len(z)) % len(like_NCP)
                like = self.to_model(like_NCP[rows])
                parts.append((self.decode_live(z, like), count))
                start += count
        joined = _join(parts)
        assert joined is not None
        return joined

    def forward(self, x_NCP: Tensor) -> Tensor:
        """Run the deployed path on any number of samples without gradients."""
        forward = self.subject.forward
        assert forward is not None
        return self._map(lambda x: as_output(forward(x.clone()), x), x_NCP)

    def _map(self, function: Callable[[Tensor], Tensor], x_NCP: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [(function(x), n) for x, n in self._batches(x_NCP)]
        joined = _join(parts)
        assert joined is not None
        return joined

    def _batches(self, x_NCP: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Yield equal batches and how many of their samples count; the last is padded by repeats.

        A model that accepts only one batch size is thus run as it is.
        """
        for start in range(0, len(x_NCP), self.batch):
            x = x_NCP[start : start + self.batch]
            count = len(x)
            if count < self.batch:
                x = x[torch.arange(self.batch) % count]
            yield self.to_model(x), count


def _refusal(
    error: Exception, samples: tuple[int, int], latent: Latent | None, passed: list[Latent]
) -> PellucidError:
    """Say on which samples a model breaks that others pass, and with which codes."""
    stage = "encode" if latent is None else "decode"
    found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if latent is not None and latent.codes is not None:
        found += f"; codes {_span([latent])} there"
        found += f", {_span(passed)} in the samples that pass" if passed else ""
    return PellucidError(
        f"{stage} breaks on some samples",
        where=f"Subject.{stage}, samples {samples[0]} to {samples[1] - 1}",
        expected="every sample to pass",
        found=found,
        hint="codes beyond the codebook, or a sample unlike those the model was built for",
    )


def _span(latents: list[Latent]) -> str:
    """Return "lowest to highest" of the codes."""
    codes = [c.codes for c in latents if c.codes is not None]
    return f"{min(int(c.min()) for c in codes)} to {max(int(c.max()) for c in codes)}"


def decoded_latent(latent: Latent) -> Tensor:
    """Return what the decoder receives: the quantised latent where there is one, else the mean."""
    return latent.mean if latent.quantized is None else latent.quantized


def _join_latents(parts: list[tuple[Latent, int]]) -> Latent:
    """Concatenate latents without their padding."""
    mean = _join([(p.mean, n) for p, n in parts])
    assert mean is not None
    others = {
        f: _join([(getattr(p, f), n) for p, n in parts]) for f in ("logvar", "codes", "quantized")
    }
    return Latent(mean=mean, **others)


def _join(parts: list[tuple[Any, int]]) -> Tensor | None:
    """Concatenate batches without their padding."""
    if any(part is None for part, _ in parts):
        return None
    kept = [part.detach()[:count].cpu() for part, count in parts]
    joined = torch.cat(kept)
    return joined.float() if joined.is_floating_point() else joined


def _home(subject: Subject) -> tuple[torch.device, torch.dtype | None]:
    """Return where and in which dtype the subject's parameters live."""
    for module in subject.reachable().modules:
        for parameter in module.parameters(recurse=False):
            if parameter.is_floating_point():
                return parameter.device, parameter.dtype
    return torch.device("cpu"), None


def _sizes(batch: int | None, x_NCP: Tensor) -> list[int]:
    """Return batch sizes to try: the loader's own, a comfortable one, small ones."""
    per_sample = max(1, math.prod(x_NCP.shape[1:]))
    comfortable = max(1, min(64, len(x_NCP), 400_000 // per_sample))
    wanted = [batch, comfortable, 16, 8, 1, 32, 4, 2, 64, 128]
    return list(dict.fromkeys(size for size in wanted if size and size <= max(len(x_NCP), 128)))


def _check_latent(latent: Latent, x_BCP: Tensor) -> None:
    """Refuse latents that contradict themselves or the batch."""
    if latent.logvar is not None and latent.logvar.shape != latent.mean.shape:
        raise PellucidError(
            "mean and log-variance disagree in shape",
            where="Subject.encode",
            expected=tuple(latent.mean.shape),
            found=tuple(latent.logvar.shape),
        )
    if latent.mean.ndim == 0 or len(latent.mean) != len(x_BCP):
        raise PellucidError(
            "encode changed the number of samples",
            where="Subject.encode",
            expected=f"{len(x_BCP)} latents, batch first",
            found=tuple(latent.mean.shape),
        )
