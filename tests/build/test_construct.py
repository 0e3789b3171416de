"""Signature is the schema."""

from typing import Literal

import pytest

from pellucid.build.construct import check_keywords, construct
from pellucid.errors import RecipeError


class Widget:
    def __init__(
        self,
        channels: int,
        width: int = 4,
        rate: float = 0.5,
        mode: Literal["soft", "hard"] = "soft",
        steps: tuple[int, ...] = (1, 2),
        on: bool = False,
        limit: float | None = None,
    ) -> None:
        self.arguments = (channels, width, rate, mode, steps, on, limit)


TABLE = {"widget": Widget}


def build(**node):
    return construct(
        "widget", TABLE, {"kind": "widget", **node}, where="encoder", given={"channels": 3}
    )


def test_values_arrive_with_the_types_of_the_signature():
    widget = build(width=8, rate=1, steps=[3, 4], mode="hard", on=True, limit=2)
    assert widget.arguments == (3, 8, 1.0, "hard", (3, 4), True, 2.0)
    assert isinstance(widget.arguments[2], float)
    assert isinstance(widget.arguments[4], tuple)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"widht": 8}, r"unknown keyword 'widht'[\s\S]*'width'"),
        ({"width": "wide"}, r"'encoder\.width' has a wrong value[\s\S]*int[\s\S]*'wide'"),
        ({"width": "8"}, "wrong value"),
        ({"width": True}, "wrong value"),
        ({"width": 8.5}, "wrong value"),
        ({"mode": "sotf"}, "wrong value"),
        ({"steps": "12"}, "wrong value"),
        ({"channels": 5}, "follows from the other components"),
    ],
)
def test_wrong_keywords_are_explained(node, message):
    with pytest.raises(RecipeError, match=message):
        build(**node)


def test_unknown_and_missing_kinds_are_explained():
    with pytest.raises(RecipeError, match=r"unknown widget 'wigdet'[\s\S]*'widget'"):
        construct("widget", TABLE, {"kind": "wigdet"}, where="encoder")
    with pytest.raises(RecipeError, match="does not say its kind"):
        construct("widget", TABLE, {}, where="encoder")


def test_a_needed_keyword_is_named():
    with pytest.raises(RecipeError, match=r"'encoder\.channels' is needed"):
        construct("widget", TABLE, {"kind": "widget"}, where="encoder")


def test_functions_are_checked_like_constructors():
    def fit(model: object, *, steps: int = 10) -> None:
        del model, steps

    assert check_keywords(fit, {"steps": 5}, where="training", given={"model": None}) == {
        "steps": 5
    }
