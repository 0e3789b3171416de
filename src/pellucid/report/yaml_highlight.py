"""YAML as HTML with its comments, keys and scalars marked; nothing is parsed or executed."""

from __future__ import annotations

import html
import re

from pellucid.report.page import Html

_KEY = re.compile(r"^(\s*(?:- )*)([^\s#'\"{\[][^:#]*?|'[^']*'|\"[^\"]*\")(:)(?=\s|$)")
_TOKEN = re.compile(
    r"(?P<comment>(?:^|(?<=\s))#.*$)"
    r"|(?P<string>'[^']*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<inline>(?<=[{,\s])[A-Za-z_][\w.-]*(?=:\s))"
    r"|(?P<number>(?<![\w.])[-+]?\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?(?![\w.]))"
    r"|(?P<constant>(?<![\w.-])(?:true|false|null|~)(?![\w.-]))"
)
_CLASSES = {"inline": "key"}


def highlight(text: str) -> Html:
    """Return `text` as escaped HTML with spans of class key, string, number, constant, comment."""
    return Html("\n".join(_line(line) for line in text.splitlines()))


def _line(line: str) -> str:
    key = _KEY.match(line)
    if key is None:
        return _scalars(line)
    lead, name, colon = key.groups()
    return f'{html.escape(lead)}<span class="key">{html.escape(name)}</span>{colon}' + _scalars(
        line[key.end() :]
    )


def _scalars(text: str) -> str:
    pieces, end = [], 0
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        pieces.append(html.escape(text[end : match.start()]))
        pieces.append(
            f'<span class="{_CLASSES.get(kind, kind)}">{html.escape(match.group())}</span>'
        )
        end = match.end()
    return "".join(pieces) + html.escape(text[end:])
