"""The environment: what is needed to understand, and repeat, where the numbers came from."""

from __future__ import annotations

from pellucid.report.contents import RunContents, mapping
from pellucid.report.page import Section, fill
from pellucid.report.tree import tree
from pellucid.report.wording import count, duration, is_number


def section(contents: RunContents) -> Section:
    """Show run.json: state, weights, time, versions, machine."""
    run = dict(mapping(contents.run))
    environment = run.pop("environment", None)
    if is_number(run.get("seconds")):
        run["trained for"] = duration(run.pop("seconds"))
    if is_number(run.get("parameters")):
        run["parameters"] = count(run["parameters"])
    html = fill(
        "environment.html.j2",
        run_facts=tree(run) if run else "",
        environment=tree(environment) if environment else "",
        path=contents.path.resolve(),
    )
    return Section("environment", "Environment", html)
