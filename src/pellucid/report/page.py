"""The shell around sections: templates, style and script inlined into one file."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pellucid.report import wording

if TYPE_CHECKING:
    import jinja2


class Html(str):
    """Text that is already HTML; templates escape every other string."""

    def __html__(self) -> Html:
        return self


@dataclasses.dataclass(frozen=True)
class Section:
    """One part of a page.

    Args:
        anchor: its id in the page, e.g. "curves".
        title: its heading and its entry in the contents; the verdict has none.
        html: its body.
    """

    anchor: str
    title: str
    html: Html


def fill(template: str, **values: Any) -> Html:
    """Fill a template of this room; every value that is not `Html` is escaped.

    Args:
        template: file name under templates/, e.g. "curves.html.j2".
        values: what the template names.
    """
    return Html(_environment().get_template(template).render(**values))


def assemble(
    title: str,
    sections: Iterable[Section],
    *,
    subtitle: str = "",
    badges: Sequence[tuple[str, str]] = (),
    problems: Sequence[str] = (),
) -> bytes:
    """Build the page: one HTML file that needs nothing else, as UTF-8.

    Args:
        title: the run's name, or the names compared.
        sections: in the order of the page.
        subtitle: one line under the title.
        badges: (kind, text) beside the title; kind is good, bad or plain.
        problems: files that could not be read, one sentence each.
    """
    text = fill(
        "page.html.j2",
        title=title,
        sections=list(sections),
        subtitle=subtitle,
        badges=badges,
        problems=problems,
    )
    # Names from a file system may hold lone surrogates, which UTF-8 cannot say.
    return text.encode("utf-8", errors="replace")


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pellucid.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        title_of=wording.title,
        unit=wording.short_unit,
        number=wording.number,
        interval=wording.interval,
        percent=wording.percent,
        count=wording.count,
        duration=wording.duration,
    )
    return environment
