"""Safe YAML in and out: `1e-4` is a number, a key given twice is an error, nothing executes."""

from __future__ import annotations

import re
from typing import Any

import yaml

from pellucid.errors import RecipeError


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads YAML 1.2 floats and refuses duplicate keys."""


class _Dumper(yaml.SafeDumper):
    """SafeDumper that writes lists of scalars on one line."""


# PyYAML follows YAML 1.1, where "1e-4" (no dot) is a string: everybody means the number.
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+0123456789."),
    )


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        if not isinstance(key, str):
            raise RecipeError("a key must be text", where=_place(key_node), found=repr(key))
        if key in seen:
            raise RecipeError(f"the key '{key}' is given twice", where=_place(key_node))
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _represent_list(dumper: yaml.SafeDumper, node: list[Any] | tuple[Any, ...]) -> yaml.Node:
    flat = not any(isinstance(item, dict | list | tuple) for item in node)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", list(node), flow_style=flat)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # unusual line breaks survive only inside double quotes
    style = '"' if set(text) & set("\r\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)
_Dumper.add_representer(str, _represent_text)


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}"


def parse_yaml(text: str, *, where: object = None) -> Any:
    """Parse YAML text into plain Python values.

    Args:
        text: the YAML.
        where: the file or argument it came from, for the message.

    Raises:
        RecipeError: when it is not valid YAML, repeats a key, or asks for a Python object.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecipeError as error:
        if where is not None:
            raise RecipeError(f"{error}\n  in: {where}") from None
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(
            "not valid YAML", where=f"{where or 'YAML'}{place}", found=problem
        ) from error


def dump_yaml(node: Any) -> str:
    """Write plain Python values as YAML that `parse_yaml` reads back to the same values."""
    return yaml.dump(
        node, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
