"""The page from disk: every section, whatever is missing, hostile or broken."""

from __future__ import annotations

import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folder_fixture import build_run

from pellucid.errors import RunError
from pellucid.report.page import Html, Section
from pellucid.report.render import SECTIONS, render
from pellucid.run_folder import RunFolder

ANCHORS = (
    "verdict",
    "numbers",
    "reconstructions",
    "references",
    "curves",
    "spectra",
    "codes",
    "data",
    "recipe",
    "environment",
)
FILES = (
    "run.json",
    "data.json",
    "splits.json",
    "metrics.jsonl",
    "evaluation.json",
    "reconstructions/index.json",
    "recipe.yaml",
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class _Collected(HTMLParser):
    """Tags, addresses, ids and text of a page, and whether its tags close in order."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "action"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)


def parse(path: Path) -> _Collected:
    page = _Collected()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def text_of(path: Path) -> str:
    return re.sub(r"\s+", " ", " ".join(parse(path).text))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return build_run(tmp_path_factory.mktemp("runs") / "photos-vq-0")


@pytest.fixture
def run(healthy: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(healthy.path, tmp_path / "photos-vq-0")
    return RunFolder(tmp_path / "photos-vq-0")


def change(folder: RunFolder, path: Path, **parts: object) -> None:
    node = folder.read_json(path)
    node.pop("version")
    folder.write_json(path, {**node, **parts})


def test_page_has_every_section_in_order_and_closes_its_tags(run: RunFolder) -> None:
    path = render(run)
    page = parse(path)
    assert path == run.report
    assert [i for i in page.ids if i in ANCHORS] == list(ANCHORS)
    assert [a for a in page.addresses if a.startswith("#")] == [f"#{a}" for a in ANCHORS]
    assert page.unbalanced == []
    assert page.open == []
    assert len(SECTIONS) == len(ANCHORS)


def test_page_is_self_contained_and_small(run: RunFolder) -> None:
    page = parse(render(run))
    outside = [a for a in page.addresses if not a.startswith(("data:", "#"))]
    assert outside == []
    assert "url(" not in run.report.read_text(encoding="utf-8")
    assert run.report.stat().st_size < 5_000_000


def test_verdict_says_where_the_run_stands(run: RunFolder) -> None:
    text = text_of(render(run))
    node = run.read_json(run.evaluation)
    psnr = node["metrics"]["psnr"]["value"]
    webp = -node["differences"]["webp"]["psnr"]["value"]
    assert "Better than JPEG, patch-PCA and the mean image; not as good as WebP." in text
    assert f"{psnr:.1f} dB on 24 held-out images" in text
    assert f"{webp:.1f} dB below WebP at the same bits" in text


def test_a_stopped_run_says_so_first(run: RunFolder) -> None:
    change(run, run.run, state="stopped", reason="NonFiniteError: x_hat is NaN")
    text = text_of(render(run))
    assert "it is stopped at step 1 500: NonFiniteError: x_hat is NaN" in text.replace(
        "\u202f", " "
    )
    assert text.index("NonFiniteError") < text.index("Key numbers", text.index("NonFiniteError"))


def test_images_are_told_from_independent_groups(run: RunFolder) -> None:
    samples = {"psnr": [20.0 + k / 10 for k in range(240)]}
    change(run, run.evaluation, samples=samples)
    assert "dB on 240 held-out images from 24 groups (" in text_of(render(run))


def test_every_convention_note_and_recipe_line_is_on_the_page(run: RunFolder) -> None:
    text = text_of(render(run))
    node = run.read_json(run.evaluation)
    for metric in node["metrics"].values():
        assert metric["convention"] in text
    for reference in node["references"].values():
        assert reference.get("note", "").lower() in text.lower()
    for word in ("weight 0 measures", "learning_rate", "3.0e-4"):
        assert word in text
    assert "KL 33.2 nats (closed form on the training samples 32.8), 12 dimensions in use" in text
    assert "14 dead" in text
    assert "icon.png: 16×16" in text


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_file_leaves_a_page_that_says_so(run: RunFolder, missing: str) -> None:
    (run.path / missing).unlink()
    page = parse(render(run))
    assert [i for i in page.ids if i in ANCHORS] == list(ANCHORS)
    assert page.unbalanced == []
    if missing == "evaluation.json":
        text = text_of(run.report)
        assert "Trained, not evaluated yet." in text
        assert text.count("Not evaluated yet: run") == 5
        assert f"pellucid evaluate {run.path}" in text
        assert "PSNR reached 24.2 at step 1 400" in text.replace("\u202f", " ")


def test_a_bare_folder_renders(tmp_path: Path) -> None:
    page = parse(render(RunFolder(tmp_path)))
    assert [i for i in page.ids if i in ANCHORS] == list(ANCHORS)


@pytest.mark.parametrize("broken", [f for f in FILES if f.endswith(".json")])
def test_an_unreadable_file_is_named_at_the_head(run: RunFolder, broken: str) -> None:
    (run.path / broken).write_text("{ not json")
    assert f"cannot read {Path(broken).name}" in text_of(render(run))


def test_a_damaged_metrics_line_keeps_the_lines_before(run: RunFolder) -> None:
    lines = run.metrics.read_text().splitlines(keepends=True)
    run.metrics.write_text("".join(lines[:40]) + "garbage\n" + "".join(lines[40:]))
    text = text_of(render(run))
    assert "metrics.jsonl is damaged after line 40" in text
    assert "Objective" in text


@pytest.mark.parametrize("part", ["metrics", "references", "differences", "ladder", "codes",
                                  "latent", "spectrum", "samples", "labels"])  # fmt: skip
@pytest.mark.parametrize("value", [None, [], "text", 3, {"psnr": None}, {"levels": [None, {}]}])
def test_any_part_of_an_evaluation_may_be_missing_or_odd(
    run: RunFolder, part: str, value: object
) -> None:
    (run.reconstructions / "index.json").unlink()  # pictures play no part here and cost time
    change(run, run.evaluation, **{part: value})
    page = parse(render(run))
    assert [i for i in page.ids if i in ANCHORS] == list(ANCHORS)


def test_null_metrics_and_gaps_are_shown_as_such(run: RunFolder) -> None:
    node = run.read_json(run.evaluation)
    node["metrics"]["ssim"]["value"] = None
    change(run, run.evaluation, metrics=node["metrics"])
    run.append_metrics(
        {"step": 1510, "split": "train", "epoch": 24, "seconds": 140, "values": {"total": math.nan}}
    )
    text = text_of(render(run))
    assert "not finite, or not measured" in text
    assert "1 non-finite value left as gaps." in text
    assert "NaN" not in text
    assert "nan" not in re.sub(r"[a-z]+nan|nan[a-z]+", "", text)


def test_hostile_text_from_files_stays_text(run: RunFolder) -> None:
    clean = parse(render(run))
    run.recipe.write_text(f"# {HOSTILE}\nname: '{HOSTILE}'\n{HOSTILE}: {HOSTILE}\n")
    index = run.read_json(run.reconstructions / "index.json")
    index["samples"][0]["name"] = HOSTILE
    index["columns"][2] = HOSTILE
    index["samples"][0]["files"][HOSTILE] = index["samples"][0]["files"]["pca"]
    change(run, run.reconstructions / "index.json", **{k: index[k] for k in ("columns", "samples")})
    node = run.read_json(run.evaluation)
    hostile_metric = {**node["metrics"]["psnr"], "unit": HOSTILE, "convention": HOSTILE}
    change(
        run,
        run.evaluation,
        split=HOSTILE,
        weights=HOSTILE,
        metrics={**node["metrics"], HOSTILE: hostile_metric},
        references={HOSTILE: {**node["references"]["webp"], "note": HOSTILE}},
        labels={HOSTILE: {HOSTILE: HOSTILE}},
        latent={HOSTILE: [HOSTILE]},
        ladder={HOSTILE: {"note": HOSTILE, "name": HOSTILE}},
    )
    change(run, run.run, state=HOSTILE, environment={HOSTILE: HOSTILE})
    change(run, run.data, skipped={HOSTILE: {"count": 1, "examples": [HOSTILE]}})
    change(run, run.splits, items={HOSTILE: [HOSTILE]})
    run.append_metrics({"step": 1, "split": HOSTILE, "values": {HOSTILE: 1.0, "psnr": 3.0}})
    page = parse(render(run))
    assert page.tags.count("script") == clean.tags.count("script") == 1
    assert "alert(1)" in " ".join(page.text)
    assert page.handlers == []
    assert page.unbalanced == []
    assert [a for a in page.addresses if not a.startswith(("data:", "#"))] == []


def test_a_run_named_in_html_is_text(healthy: RunFolder, tmp_path: Path) -> None:
    name = "<script>alert(1)<x>"
    shutil.copytree(healthy.path, tmp_path / name)
    page = parse(render(RunFolder(tmp_path / name)))
    assert page.tags.count("script") == 1
    assert name in " ".join(page.text)


def test_pictures_outside_the_run_are_not_inlined(run: RunFolder, tmp_path: Path) -> None:
    before = render(run).read_text(encoding="utf-8").count("data:image/png")
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    index = run.read_json(run.reconstructions / "index.json")
    index["samples"][0]["files"]["pca"] = "../../secret.png"
    index["samples"][1]["files"]["pca"] = str(secret)
    index["samples"][2]["files"]["pca"] = "gone.png"
    change(run, run.reconstructions / "index.json", samples=index["samples"])
    after = render(run).read_text(encoding="utf-8")
    assert after.count("data:image/png") == before - 3
    assert after.count("not in this run") == 3


def test_many_large_pictures_stay_within_the_size_and_say_what_is_left_out(run: RunFolder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 600, 3), dtype=np.uint8)
    for column in ("original", "reconstruction"):
        Image.fromarray(noise).save(run.reconstructions / f"large-{column}.png")
    files = {column: f"large-{column}.png" for column in ("original", "reconstruction")}
    samples = [{"name": f"large {k}", "files": files} for k in range(6)]
    index = {"columns": ["original", "reconstruction"], "samples": samples}
    run.write_json(run.reconstructions / "index.json", index)
    text = text_of(render(run))
    shown = re.search(r"(\d) of 6 samples are shown", text)
    assert run.report.stat().st_size < 5_000_000
    assert shown is not None
    assert 1 <= int(shown.group(1)) < 6
    assert "Pictures larger than 512 pixels are shown reduced" in text


def test_long_training_is_thinned_but_keeps_its_extremes(run: RunFolder) -> None:
    with run.metrics.open("w") as file:
        for step in range(1, 30_001):
            value = 50.0 if step == 17_003 else 1.0 + 1 / step
            line = {"step": step, "split": "train", "values": {"total": value}}
            file.write(json.dumps(line) + "\n")
    html = render(run).read_text(encoding="utf-8")
    chart = html[html.index('aria-label="Objective"') :]
    chart = chart[: chart.index("</svg>")]
    band = re.search(r'class="band[^"]*" d="([^"]+)"', chart)
    top, bottom = (float(v) for v in re.findall(r'data-y="([\d.]+),([\d.]+)', chart)[0][::-1])
    assert band is not None
    heights = [float(pair.split(",")[1]) for pair in re.findall(r"[\d.]+,[\d.]+", band.group(1))]
    assert len(chart) < 40_000
    assert min(heights) < top + 0.1 * (bottom - top)  # the spike at step 17 003 is still drawn


def test_the_last_page_survives_a_failed_write(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = render(run).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pellucid.atomic_files.os.fsync", full)
    with pytest.raises(RunError, match=r"cannot write report\.html"):
        render(run)
    assert run.report.read_bytes() == before
    assert [p.name for p in run.path.iterdir() if p.name.startswith(".")] == []


def test_a_further_section_is_one_function(run: RunFolder) -> None:
    def diagnosis(contents: object) -> Section:
        return Section("diagnosis", "Diagnosis", Html("<p>healthy</p>"))

    page = parse(render(run, sections=(*SECTIONS, diagnosis)))
    assert page.ids.index("diagnosis") > page.ids.index("environment")
    assert "healthy" in " ".join(page.text)
