"""`pellucid sharpen` prints what each strength costs, and refuses in words."""

from __future__ import annotations

import json


def test_the_table_and_the_new_run(pellucid, trained, tmp_path):
    code, out, err = pellucid("sharpen", trained, "--strength", 0.25, "-o", tmp_path / "new", "-q")
    assert code == 0, err
    assert "0.25 ←" in out
    assert "coherence" in out
    assert (tmp_path / "new" / "sharpened.html").is_file()


def test_json_holds_every_strength(pellucid, trained, tmp_path):
    code, out, err = pellucid("sharpen", trained, "-o", tmp_path / "new", "--json", "-q")
    assert code == 0, err
    answer = json.loads(out)
    assert [p["strength"] for p in answer["fitted"]["points"]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert answer["after"] == str(tmp_path / "new")
    assert any(d["metric"] == "psnr" and d["paired"] for d in answer["comparison"]["differences"])


def test_refusals_are_readable(pellucid, trained, tmp_path):
    code, _, err = pellucid("sharpen", trained, "--strength", 2, "-o", tmp_path / "new")
    assert code == 1
    assert "expected: a number from 0 to 1" in err
    assert "Traceback" not in err
    code, _, err = pellucid("sharpen", tmp_path / "none")
    assert code == 1
    assert "no such run folder" in err
