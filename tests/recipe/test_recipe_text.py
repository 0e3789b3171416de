"""YAML: numbers people mean, no executed tags, exact round trip."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import RecipeError
from pellucid.recipe import dump_yaml, parse_yaml

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text()
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
def test_dumped_values_are_parsed_back_exactly(tree):
    assert parse_yaml(dump_yaml(tree)) == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("3E5", 3e5), ("-2e+3", -2e3), ("1.5e4", 1.5e4), (".5e1", 5.0), ("7", 7)],
)
def test_scientific_numbers_are_numbers(text, value):
    assert parse_yaml(text) == value
    assert type(parse_yaml(text)) is type(value)


@pytest.mark.parametrize("text", ["e5", "1e", "abc1e-4", "'1e-4'"])
def test_text_stays_text(text):
    assert isinstance(parse_yaml(text), str)


def test_infinity_round_trips():
    assert math.isinf(parse_yaml(dump_yaml({"a": math.inf}))["a"])


def test_a_python_tag_is_refused_and_not_executed(tmp_path):
    target = tmp_path / "made"
    with pytest.raises(RecipeError, match="not valid YAML"):
        parse_yaml(f"!!python/object/apply:os.mkdir ['{target}']")
    assert not target.exists()


def test_a_repeated_key_names_its_line():
    with pytest.raises(RecipeError, match=r"'steps' is given twice[\s\S]*line 3"):
        parse_yaml("training:\n  steps: 1\n  steps: 2\n")


def test_broken_yaml_names_file_and_line():
    with pytest.raises(RecipeError, match=r"mine\.yaml, line 2"):
        parse_yaml("a: 1\nb: ]\n", where="mine.yaml")
