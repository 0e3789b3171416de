"""The page in a real browser: complete, silent on the console, nothing fetched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from run_folder_fixture import build_run

from pellucid.report.comparison import render_comparison
from pellucid.report.render import render

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
    "--dump-dom",
)
# Appended to a copy of the page: uses it as a reader would, and reports what it found.
# A headless window is at least 500 pixels wide, so the page is framed at the width to be tried.
FRAME = """<!doctype html><body>
<script>
addEventListener("message", (event) => { document.body.dataset.probe = event.data; });
</script>
<iframe src="probed.html" style="width:WIDTHpx;height:2000px;border:0"></iframe>"""
PROBE = """
<script>
addEventListener("load", () => {
  const report = {};
  report.wide = document.documentElement.scrollWidth <= innerWidth;
  report.requests = performance.getEntriesByType("resource")
    .filter((entry) => !entry.name.startsWith("data:")).length;
  report.broken = [...document.querySelectorAll("main img")]
    .filter((image) => !image.complete || image.naturalWidth === 0).length;
  const svg = document.querySelector(".chart svg");
  const box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width * 0.7 }));
  report.readout = document.querySelector(".readout").textContent;
  document.querySelector(".pictures img").click();
  report.opened = document.getElementById("viewer").open;
  const first = document.querySelector("#viewer img").src;
  document.getElementById("viewer").dispatchEvent(
    new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  report.flipped = document.querySelector("#viewer img").src !== first;
  parent.postMessage(JSON.stringify(report), "*");
});
</script>
"""


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    reason = "no Chromium on this machine: the page was not opened in a browser"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def open_page(path: Path, profile: Path) -> tuple[str, list[str]]:
    """Return the page's DOM after its scripts ran, and what it said on the console."""
    command = [
        browser(),
        *FLAGS,
        "--window-size=1300,2000",
        f"--user-data-dir={profile}",
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, console


def probe(dom: str) -> str:
    found = re.search(r'data-probe="([^"]+)"', dom)
    assert found is not None, "the page's scripts did not run to their end"
    return found.group(1).replace("&quot;", '"')


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(build_run(tmp_path_factory.mktemp("runs") / "photos-vq-0"))


def test_the_page_opens_silently_and_complete(page: Path, tmp_path: Path) -> None:
    dom, console = open_page(page, tmp_path / "profile")
    assert console == []
    for anchor in ("verdict", "reconstructions", "curves", "codes", "environment"):
        assert f'<section id="{anchor}">' in dom
    assert "not as good as WebP" in dom
    assert dom.count('class="readout"') == dom.count('<figure class="chart">') > 10


@pytest.mark.parametrize("width", [1280, 400])
def test_a_reader_can_hover_and_enlarge_and_nothing_is_fetched(
    page: Path, tmp_path: Path, width: int
) -> None:
    copy = tmp_path / "probed.html"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)))
    dom, console = open_page(frame, tmp_path / "profile")
    report = probe(dom)
    assert console == []
    assert '"wide":true' in report
    assert '"requests":0' in report
    assert '"broken":0' in report
    assert '"opened":true' in report
    assert '"flipped":true' in report
    assert re.search(r'"readout":"share of the images, % [\d.]+PSNR: [\d.]+"', report)


def test_a_broken_script_would_be_noticed(page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "broken.html"
    broken = "<script>nothing.here()</script><img src='http://localhost:1/x.png'></body>"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", broken))
    _, console = open_page(copy, tmp_path / "profile")
    assert any("nothing is not defined" in line for line in console)
    assert any("Content Security Policy" in line for line in console)


def test_the_comparison_opens_silently(tmp_path: Path) -> None:
    runs = [build_run(tmp_path / name, samples=2) for name in ("a", "b")]
    dom, console = open_page(
        render_comparison(runs, {}, tmp_path / "comparison.html"), tmp_path / "profile"
    )
    assert console == []
    assert dom.count('class="sample"') == 2
