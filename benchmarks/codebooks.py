"""Do geodesic codebooks help? Fit every method on trained VAEs, score, tune, and write the table.

    python benchmarks/codebooks.py MNIST=RUN CIFAR-10=RUN --vq MNIST=RUN --log log.jsonl [--write]

Runs are continuous VAEs (recipes `posthoc-geodesic`, `posthoc-geodesic-mnist`); several of one set
are its seeds. Every codebook is fitted on the same latents, assigns means, and is judged on the
same held-out images by the PSNR of what it decodes to. `--vq` names end-to-end VQ runs at the
same bits.
Each line of the log is one codebook; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

from pellucid import Run, codebook, tune_decoder
from pellucid.evaluation.passes import Reconstructor
from pellucid.metrics.paired import PairedImages
from results import write_section

SIZE = 512
METHODS = ("kmeans", "kmedoids", "geodesic", "pullback", "decoder")
SOURCES = ("mean", "sample")


def fit(run: str, method: str, source: str, points: int) -> dict[str, Any]:
    """Fit and score one codebook."""
    book = codebook(run, method=method, source=source, size=SIZE, points=points, progress=False)
    scores = {name: node["value"] for name, node in book.record["scores"].items()}
    return {"scores": scores, "preflight": book.record["preflight"], "name": book.name}


def tuned(run: str, name: str, steps: int) -> dict[str, float]:
    """Tune the decoder for one codebook."""
    found = tune_decoder(run, codebook=name, steps=steps, batch_size=32, threads=1, progress=False)
    return {key: node["value"] for key, node in found["scores"].items()}


def end_to_end(run: str) -> float:
    """Return the held-out PSNR of a run that learned its codes with its networks."""
    opened = Run.open(run)
    data: Any = opened.data()
    reconstruct = Reconstructor(opened.load(), "float32")
    paired = PairedImages(data.value_range)
    for start in range(0, len(data.test), 64):
        batch = data.test.batch(range(start, min(start + 64, len(data.test))))
        x_hat, _ = reconstruct(batch["x"])
        paired.update(x_hat, batch["target"])
    return float(paired.per_image["psnr"].mean())


def table(entries: list[dict[str, Any]], baselines: dict[str, list[float]], how: str) -> str:
    """Write the codebooks as Markdown: mean over runs, spread where there are several."""
    lines = [
        "## Codebooks fitted afterwards",
        "",
        f"`python benchmarks/codebooks.py … --write`: K = {SIZE}, 16 tokens of 9 bits. {how} "
        "PSNR is of decoded held-out images; distances are in their own units and compare down a "
        "column only between codebooks that minimise the same one.",
        "",
    ]
    for title in dict.fromkeys(entry["data"] for entry in entries):
        ours = [entry for entry in entries if entry["data"] == title]
        lines += _section(title, ours, baselines.get(title, []))
    return "\n".join(lines)


def _section(title: str, entries: list[dict[str, Any]], baselines: list[float]) -> list[str]:
    kl = statistics.mean(e["preflight"]["kl_bits_per_token"] for e in entries)
    plain = statistics.mean(e["scores"]["psnr_mean"] for e in entries)
    runs = len({entry["run"] for entry in entries})
    head = f"**{title}**, {runs} run{'s' if runs > 1 else ''}: {kl:.1f} bits of KL per token; "
    head += f"decode(mean) {plain:.2f} dB"
    if baselines:
        head += f"; end-to-end VQ at the same bits {statistics.mean(baselines):.2f} dB"
    lines = [
        f"{head}.",
        "",
        "| codebook | fitted on | PSNR | tuned | gap closed | latent L2 | path | pulled back | "
        "codes used | NMI |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for method, source in itertools.product(METHODS, SOURCES):
        rows = [e for e in entries if (e["method"], e["source"]) == (method, source)]
        if not rows:
            continue
        s = {k: [row["scores"][k] for row in rows if k in row["scores"]] for k in rows[0]["scores"]}
        after = [row["tuned"]["psnr_after"] for row in rows if row.get("tuned")]
        closed = [row["tuned"]["closed"] for row in rows if "closed" in row.get("tuned", {})]
        cells = [
            f"{method} | {source}s | {_spread(s['psnr'], '.2f')} dB",
            f"{_spread(after, '.2f')} dB" if after else "–",
            _spread(closed, ".0%") if closed else "–",
            _spread(s["latent_distance"], ".3f"),
            _spread(s["path_length"], ".3f"),
            _spread(s["pulled_back_length"], ".3f"),
            _spread(s["code_usage"], ".0%"),
            _spread(s["nmi"], ".3f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _spread(values: list[float], form: str) -> str:
    middle = f"{statistics.mean(values):{form}}"
    if len(values) < 2:
        return middle
    return f"{middle} ({min(values):{form}} … {max(values):{form}})"


def answer(entries: list[dict[str, Any]]) -> str:
    """Say in one paragraph what the table says; differences are within runs."""
    return " ".join(
        _answer(title, [entry for entry in entries if entry["data"] == title])
        for title in dict.fromkeys(entry["data"] for entry in entries)
    )


def _answer(title: str, entries: list[dict[str, Any]]) -> str:
    psnr = {(e["method"], e["source"], e["run"]): e["scores"]["psnr"] for e in entries}
    runs = dict.fromkeys(entry["run"] for entry in entries)

    def gap(one: tuple[str, str], other: tuple[str, str]) -> float | None:
        found = [
            psnr[(*one, run)] - psnr[(*other, run)]
            for run in runs
            if {(*one, run), (*other, run)} <= psnr.keys()
        ]
        return statistics.mean(found) if found else None

    base = ("kmeans", "mean")
    against = {m: gap((m, "mean"), base) for m in METHODS}
    others = ", ".join(
        f"{method} {won:+.2f} dB" for method, won in against.items() if won is not None and won
    )
    text = f"On {title}, in decoded PSNR against k-means on means of the same runs: {others}; "
    best = max((won or 0.0, method) for method, won in against.items() if won is not None)[1]
    text += f"the best is {best}."
    of_samples = [won for m in METHODS if (won := gap((m, "sample"), (m, "mean"))) is not None]
    if of_samples:
        text += f" Fitting on samples instead of means changes PSNR by {min(of_samples):+.2f} … "
        text += f"{max(of_samples):+.2f} dB."
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="SET=RUN")
    parser.add_argument("--vq", nargs="*", default=[], metavar="SET=RUN")
    parser.add_argument("--points", type=int, default=50_000, help="latents each is fitted on")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--sources", nargs="*", default=SOURCES)
    parser.add_argument("--tune-steps", type=int, default=1000)
    parser.add_argument("--tune", nargs="*", default=["kmeans/mean"], metavar="METHOD/SOURCE")
    parser.add_argument("--note", default="", help="what else the table should say of the runs")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    log = arguments.log
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    known = {(e["run"], e["method"], e["source"]) for e in done}
    every = itertools.product(arguments.sources, arguments.methods, arguments.runs)
    for source, method, pair in every:
        title, run = pair.split("=", 1)
        if (run, method, source) in known:
            continue
        entry = {"data": title, "run": run, "method": method, "source": source}
        entry |= fit(run, method, source, arguments.points)
        if f"{method}/{source}" in arguments.tune:
            entry["tuned"] = tuned(run, entry["name"], arguments.tune_steps)
        print(json.dumps(entry), flush=True)
        with log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        done.append(entry)
    baselines: dict[str, list[float]] = {}
    for pair in arguments.vq:
        title, run = pair.split("=", 1)
        baselines.setdefault(title, []).append(end_to_end(run))
    how = f"Fitted on at most {arguments.points:,} latents; decoders tuned for "
    how += f"{arguments.tune_steps} steps of 32. {arguments.note}".strip()
    text = f"{table(done, baselines, how)}\n{answer(done)}"
    print(text)
    if arguments.write:
        write_section("codebooks", text)


if __name__ == "__main__":
    main()
