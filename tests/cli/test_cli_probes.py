"""`pellucid landmarks` and `latent-space` as a user types them, and their parts of the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pellucid.run_folder import RunFolder
from pellucid.workflows.run import Run


@pytest.fixture(scope="module")
def points(photos: Path, tmp_path_factory) -> Path:
    """Where a photograph is brightest and darkest: a file that lists the images of `photos`."""
    from PIL import Image

    lines = ["image,bright_x,bright_y,dark_x,dark_y"]
    for file in sorted(photos.iterdir()):
        luma = np.asarray(Image.open(file).convert("L").resize((12, 10)), float)
        (by, bx), (dy, dx) = (
            np.unravel_index(i, luma.shape) for i in (luma.argmax(), luma.argmin())
        )
        lines.append(f"{file.name},{4 * bx + 2},{4 * by + 2},{4 * dx + 2},{4 * dy + 2}")
    lines[1] = lines[1].rsplit(",", 2)[0] + ",,"  # a missing point
    lines[2] = lines[2].split(",")[0] + ",999,1,5,5"  # one outside
    lines.append("gone.png,1,1,2,2")
    file = tmp_path_factory.mktemp("points") / "points.csv"
    file.write_text("\n".join(lines))
    return file


def test_landmarks_measure_draw_and_stand_on_the_page(pellucid, trained, photos, points):
    words = ["--points", points, "--images", photos, "--labels", "4,all", "--blocks", "2"]
    code, out, err = pellucid("landmarks", trained, *words, "--draws", "1", "--json", "-q")
    assert code == 0, err
    found = json.loads(out)
    told = found["points"]
    assert (told["images"], told["missing"], told["outside"], told["left_out"]) == (24, 1, 1, 1)
    assert set(found["methods"]) == {"run", "random", "pca"}
    nme = found["methods"]["run"]["4"]["nme"]
    assert 0 < nme["low"] <= nme["value"] <= nme["high"]
    assert set(found["differences"]) == {"random", "pca"}
    assert found["model"] == Run.open(trained).digest()
    folder = RunFolder(trained)
    for sample in found["samples"]:
        for file in sample["files"].values():
            assert (folder.landmarks / file).is_file()
    page = folder.report.read_text()
    assert 'id="landmarks"' in page
    assert "same encoder, untrained" in page


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (["--labels", "1"], "numbers from 2, or all"),
        (["--labels", "five"], "no number of labels"),
        (["--blocks", "13"], "too few labelled images"),
        (["--normaliser", "bright-drak"], "no such normaliser"),
        (["--against", "radnom"], "did you mean 'random'"),
        (["--layers", "stride4"], "did you mean 'stride_4'"),
        (["--images", "/nowhere"], "no such folder of images"),
    ],
)
def test_wrong_words_are_refused(pellucid, trained, photos, points, change, part):
    words = ["--points", points, "--images", photos, "-q"]
    code, _, err = pellucid("landmarks", trained, *words, *change)
    assert code == 1
    assert part in err


def test_images_that_are_not_there(pellucid, trained, points, tmp_path):
    (tmp_path / "0.pgn").write_bytes(b"")
    code, _, err = pellucid("landmarks", trained, "--points", points, "--images", tmp_path, "-q")
    assert code == 1
    assert "none of the images are there" in err
    assert "0.pgn" in err


def test_the_latent_space_is_written_and_shown(pellucid, trained):
    code, out, err = pellucid("latent-space", trained, "--json", "-q")
    assert code == 0, err
    found = json.loads(out)
    assert 0 <= found["discrimination"] <= 1
    assert found["dimensions"] == np.prod(found["shape"])
    assert 0 <= found["active_by_variance"] <= found["dimensions"]
    folder = RunFolder(trained)
    files = [entry["file"] for entry in found["traversals"]]
    files += [entry[key] for entry in found["interpolations"] for key in ("latent", "pixels")]
    files += [entry[key] for entry in found["neighbours"] for key in ("latent", "pixels")]
    assert all(
        (folder.latent_space / file).is_file() for file in [*files, found["mixture"]["file"]]
    )
    page = folder.report.read_text()
    assert 'id="latent-space"' in page
    assert "Discrimination score" in page
