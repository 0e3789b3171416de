"""Divide groups between train, validation and test, and keep a written division.

From 100 groups on, a group's split follows from its own name and the seed (u = hash/2⁶⁴; test when
u < test, validation when u < test + validation), so files added later move nobody. Smaller sets
would come out lopsided that way: their groups are ranked by u and cut into exact shares, at least
one group each. A set's official test images are its test split. Identical images share a group.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.errors import DataError

SPLITS = ("train", "validation", "test")
SMALL_SET = 100  # groups


@dataclasses.dataclass(frozen=True)
class Fractions:
    """Shares of the groups that are held out.

    Raises:
        DataError: when they are negative or leave nothing to train on.
    """

    validation: float
    test: float

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise DataError(
                "the held-out shares leave nothing to train on",
                where="data.validation, data.test",
                expected="0 ≤ validation, 0 ≤ test, validation + test < 1",
                found=f"validation {self.validation}, test {self.test}",
            )


def assign(
    groups: list[str],
    fractions: Fractions,
    seed: int,
    *,
    official_test: list[bool] | None = None,
    where: object = None,
) -> list[str]:
    """Return the split of every image.

    Args:
        groups: group name per image.
        fractions: shares to hold out.
        seed: changes who is held out.
        official_test: images of the set's own test split; they stay its test split.
        where: the source, for messages.

    Raises:
        DataError: when there are fewer groups than splits.
    """
    if official_test is not None:
        fractions = Fractions(fractions.validation, 0.0)
        tested = {g for g, is_test in zip(groups, official_test, strict=True) if is_test}
    else:
        tested = set()
    names = sorted(set(groups) - tested)
    wanted = 1 + (fractions.validation > 0) + (fractions.test > 0)
    if len(names) < wanted:
        raise DataError(
            "too few samples to split",
            where=where,
            expected=f"at least {wanted} groups (train and every held-out share above 0)",
            found=f"{len(names)} group(s) in {len(groups)} usable sample(s)",
            hint="add some; identical ones count as one group, and a group is never divided",
        )
    split_of = dict.fromkeys(tested, "test") | _divide(names, fractions, seed)
    return [split_of[name] for name in groups]


def keep_or_assign(
    digests: Mapping[str, str],
    groups: list[str],
    fractions: Fractions,
    seed: int,
    *,
    where: object,
    written: Mapping[str, Any] | None = None,
    official_test: list[bool] | None = None,
) -> list[str | None]:
    """Return the split of every item: the written one where there is one, else one assigned anew.

    Args:
        digests: name → content digest, in order.
        groups: group name per item.
        fractions: shares to hold out.
        seed: changes who is held out.
        where: the source, for messages.
        written: a division to keep to, see `reassign`; items it does not name get None.
        official_test: items of the set's own test split.

    Raises:
        DataError: when there is too little to divide, or it is not what was written.
    """
    if written is not None:
        kept = reassign(written, digests, where)
        return [kept.get(name) for name in digests]
    return [*assign(groups, fractions, seed, official_test=official_test, where=where)]


def division_record(
    split_of: Sequence[str | None], digests: Mapping[str, str], *, where: str, seed: int
) -> dict[str, Any]:
    """Return the JSON that says who is where: what `reassign` keeps to.

    Args:
        split_of: split per item, None for those in none.
        digests: name → content digest, in the same order.
        where: the source.
        seed: of the division.
    """
    items = {
        split: {
            name: digest
            for (name, digest), own in zip(digests.items(), split_of, strict=True)
            if own == split
        }
        for split in SPLITS
    }
    return {
        "source": where,
        "seed": seed,
        "fingerprint": fingerprint({k: v for part in items.values() for k, v in part.items()}),
        "items": items,
    }


def _divide(names: list[str], fractions: Fractions, seed: int) -> dict[str, str]:
    place = {name: _uniform(seed, name) for name in names}
    if len(names) < SMALL_SET:
        ranked = sorted(names, key=place.__getitem__)
        held = [max(1, round(f * len(names))) if f > 0 else 0
                for f in (fractions.test, fractions.validation)]  # fmt: skip
        while sum(held) >= len(names):  # the shares were rounded up: keep one to train on
            held[held.index(max(held))] -= 1
        return {
            name: "test" if i < held[0] else "validation" if i < sum(held) else "train"
            for i, name in enumerate(ranked)
        }
    return {
        name: "test"
        if u < fractions.test
        else "validation"
        if u < fractions.test + fractions.validation
        else "train"
        for name, u in place.items()
    }


def _uniform(seed: int, name: str) -> float:
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def fingerprint(digests: Mapping[str, str]) -> str:
    """Return one hash of all names and contents."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.blake2b(lines.encode(), digest_size=16).hexdigest()


def reassign(
    written: Mapping[str, Any], digests: Mapping[str, str], where: object
) -> dict[str, str]:
    """Return the split of every image that a written division names.

    Images that came later are left out: they belong to no split of that run.

    Args:
        written: what `ImageData.splits` held: `items` is split → name → content digest.
        digests: name → content digest of the usable images now.
        where: the source, for messages.

    Raises:
        DataError: when an image it names is missing or has changed, or it is no division.
    """
    items = written.get("items")
    if not isinstance(items, Mapping) or sorted(items) != sorted(SPLITS):
        raise DataError(
            "these splits do not say which image is where",
            expected=f"`items` with {', '.join(SPLITS)}, as a run's splits.json has",
            found=f"keys {', '.join(map(str, written))}",
        )
    split_of = {name: split for split in SPLITS for name in items[split]}
    missing = [name for name in split_of if name not in digests]
    changed = [
        name
        for name, split in split_of.items()
        if name in digests and digests[name] != items[split][name]
    ]
    if missing or changed:
        parts = [
            f"{len(names)} {what} ({', '.join(sorted(names)[:3])}{', …' if len(names) > 3 else ''})"
            for names, what in ((missing, "missing"), (changed, "changed"))
            if names
        ]
        raise DataError(
            "the images are not those that were split",
            where=where,
            expected=f"the {len(split_of)} images of the written splits, unchanged",
            found="; ".join(parts),
            hint="bring them back, or start a new run on the images as they are now",
        )
    return split_of
