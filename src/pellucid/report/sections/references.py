"""References: what simple methods reach on the same images, and the ladder R0–R3."""

from __future__ import annotations

import dataclasses

from pellucid.report.contents import RunContents, mapping, measured, part
from pellucid.report.page import Section, fill
from pellucid.report.standing import standings
from pellucid.report.wording import capitalised, interval, is_number, number, title

LADDER = {
    "R0": "another image of the set, at random",
    "R1": "the mean image",
    "R2": "linear: PCA with equal numbers",
    "R3": "the best linear VAE at this weight",
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One row of the table, printed."""

    name: str
    own: bool
    relation: str
    psnr: str
    psnr_spread: str
    ssim: str
    ssim_spread: str
    bits: str
    difference: str
    difference_spread: str
    note: str


def section(contents: RunContents) -> Section:
    """Show the references' numbers beside the run's and the ladder below."""
    found = {standing.name: standing for standing in standings(contents)}
    metrics = mapping(contents.evaluated("metrics"))
    lines = []
    if metrics:
        lines.append(_line("This run", metrics, own=True))
    for name, node in mapping(contents.evaluated("references")).items():
        line = _line(_name(str(name)), mapping(node))
        standing = found.get(str(name))
        if standing:
            line = dataclasses.replace(
                line,
                relation=standing.relation,
                difference=number(standing.difference, places=standing.places(), signed=True),
                difference_spread=standing.spread() or "unpaired",
            )
        lines.append(line)
    html = fill("references.html.j2", lines=lines, ladder=_ladder(contents), run=contents.path)
    return Section("references", "References", html)


def _line(name: str, node: object, own: bool = False) -> Line:
    psnr, ssim = measured(part(node, "psnr")), measured(part(node, "ssim"))
    bits = measured(part(node, "bits_per_pixel"))
    return Line(
        name=name,
        own=own,
        relation="own" if own else "",
        psnr=number(psnr.value, "dB") if psnr else "—",
        psnr_spread=interval(psnr.low, psnr.high, "dB") if psnr else "",
        ssim=number(ssim.value, places=3) if ssim else "—",
        ssim_spread=interval(ssim.low, ssim.high, places=3) if ssim else "",
        bits=number(bits.value) if bits else "—",
        difference="",
        difference_spread="",
        note="" if own else capitalised(str(part(node, "note") or "")),
    )


def _kl(node: object) -> str:
    """Say what the linear VAE's rate is, measured and by its closed form."""
    kl, predicted = part(node, "kl"), part(node, "kl_predicted")
    if not is_number(kl):
        return ""
    form = f" (closed form on the training samples {number(predicted)})"
    active = part(node, "active")
    dimensions = f", {number(active)} dimensions in use" if is_number(active) else ""
    return f"KL {number(kl)} nats{form if is_number(predicted) else ''}{dimensions}."


def _name(name: str) -> str:
    return "Mean image" if name == "mean" else title(name)


def _ladder(contents: RunContents) -> list[dict[str, str]]:
    return [
        {
            "name": str(name),
            "words": str(part(node, "name") or LADDER.get(str(name), "")),
            "psnr": number(part(node, "psnr"), "dB"),
            "mse": number(part(node, "mse")),
            "fvu": number(part(node, "fvu"), places=3),
            "note": " ".join(filter(None, (_kl(node), capitalised(str(part(node, "note") or ""))))),
        }
        for name, node in mapping(contents.evaluated("ladder")).items()
    ]
