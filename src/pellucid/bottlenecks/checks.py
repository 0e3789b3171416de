"""The checks that every bottleneck makes on features, codes and arguments."""

from __future__ import annotations

from torch import Tensor

from pellucid.errors import PellucidError, RecipeError


def check_arguments(owner: str, rules: dict[str, tuple[bool, str, object]]) -> None:
    """Refuse the first constructor argument that breaks its rule.

    Args:
        owner: class name for the message.
        rules: argument name -> (is it fine, what was expected, what was found).

    Raises:
        RecipeError: naming the argument.
    """
    for name, (fine, expected, found) in rules.items():
        if not fine:
            raise RecipeError(
                f"{owner} cannot be built", where=name, expected=expected, found=repr(found)
            )


def check_features(h_BCP: Tensor, channels: int, *, where: str) -> None:
    """Refuse features that are not (B, channels, P...) floating-point numbers.

    Raises:
        PellucidError: with the shape that was expected and the one that came.
    """
    if h_BCP.dim() < 2 or h_BCP.shape[1] != channels or not h_BCP.is_floating_point():
        raise PellucidError(
            "the bottleneck received features it was not built for",
            where=where,
            expected=f"floating point (B, {channels}, positions...)",
            found=f"{str(h_BCP.dtype).removeprefix('torch.')} {tuple(h_BCP.shape)}",
            hint="the encoder's `channels` and the bottleneck's `channels` must agree",
        )


def check_codes(codes: Tensor, k: int, *, where: str, lowest: int = 0) -> None:
    """Refuse codes that are not integers in [lowest, k).

    Raises:
        PellucidError: with the range that was expected and the one found.
    """
    if codes.is_floating_point() or codes.is_complex() or codes.dim() < 1:
        raise PellucidError(
            "codes must be integers (B, positions...)",
            where=where,
            found=f"{codes.dtype} {tuple(codes.shape)}",
        )
    if codes.numel() == 0:
        return
    low, high = int(codes.min()), int(codes.max())
    if low < lowest or high >= k:
        raise PellucidError(
            "a code is out of range",
            where=where,
            expected=f"{lowest} … {k - 1}",
            found=f"{low} … {high}",
        )


def check_residual_arguments(owner: str, levels: int, dropout: float) -> None:
    """Refuse a number of levels or a level dropout without a meaning.

    Raises:
        RecipeError: naming the argument.
    """
    rules = {
        "levels": (levels >= 1, "an integer ≥ 1", levels),
        "dropout": (0 <= dropout <= 1, "a probability in [0, 1]", dropout),
    }
    check_arguments(owner, rules)


def check_residual_codes(codes: Tensor, k: int, most: int, *, where: str) -> None:
    """Refuse codes that are not integers in [−1, k), levels last.

    Raises:
        PellucidError: with what was expected and what was found.
    """
    check_codes(codes, k, where=where, lowest=-1)
    if codes.dim() < 2:
        raise PellucidError(
            "residual codes end in an axis of levels",
            where=where,
            expected=f"(B, positions..., 1 to {most})",
            found=tuple(codes.shape),
        )


def check_levels(levels: int | None, most: int, *, where: str) -> int:
    """Return how many residual levels are meant: all of them, or the first so many.

    Raises:
        PellucidError: when there are not so many.
    """
    levels = most if levels is None else levels
    if not 1 <= levels <= most:
        raise PellucidError(
            "this many residual levels do not exist",
            where=where,
            expected=f"1 … {most}",
            found=levels,
        )
    return levels
