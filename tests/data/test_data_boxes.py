"""Boxes and landmarks as sources of crops: every format, every way they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_pixels

from pellucid.data import ImageData
from pellucid.data.annotations import holds_annotations, read_annotations
from pellucid.data.boxed import BoxRules, open_boxes, place
from pellucid.data.inspect import inspect_images
from pellucid.data.reading import UnreadableImage
from pellucid.errors import DataError

BOX = (4, 6, 24, 36)  # 20 × 30 pixels of a 40 × 48 image


def write(photos: Path, form: str) -> Path:
    """Write the same box of every photograph in one of the formats."""
    names = sorted(path.name for path in photos.iterdir() if path.suffix == ".png")
    x0, y0, x1, y1 = BOX
    if form == "csv corners":
        rows = ["image,x0,y0,x1,y1", *(f"{n},{x0},{y0},{x1},{y1}" for n in names)]
    elif form == "csv sizes":
        rows = ["filename,x,y,width,height", *(f"{n},{x0},{y0},{x1 - x0},{y1 - y0}" for n in names)]
    elif form == "landmarks":
        rows = ["image,nose_x,nose_y,tail_x,tail_y,ear_x,ear_y"]
        rows += [f"{n},{x0},{y1},{x1},{y0},{x0 + 3},{y0 + 1}" for n in names]
    else:
        return write_other(photos, form, names)
    path = photos / "boxes.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def write_other(photos: Path, form: str, names: list[str]) -> Path:
    x0, y0, x1, y1 = BOX
    if form == "coco":
        path = photos / "coco.json"
        images = [{"id": 7 + i, "file_name": name} for i, name in enumerate(names)]
        annotations = [
            {"id": i, "image_id": 7 + i, "bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": 2}
            for i in range(len(names))
        ]
        categories = [{"id": 2, "name": "ear"}]
        path.write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories})
        )
        return path
    columns = {"image_paths": names, "bboxes": [list(map(float, BOX))] * len(names)}
    if form == "json":
        path = photos / "boxes.json"
        path.write_text(json.dumps(columns))
        return path
    path = photos / "boxes.npz"
    np.savez(path, image_paths=np.array(names), bboxes=np.array(columns["bboxes"]))
    return path


FORMS = ["csv corners", "csv sizes", "landmarks", "coco", "json", "npz"]


@pytest.mark.parametrize("form", FORMS)
def test_every_format_cuts_the_same_crops(photos: Path, form: str) -> None:
    path = write(photos, form)
    assert holds_annotations(path)
    source = open_boxes(path, rules=BoxRules(square=False))
    assert len(source) == 12
    picture = source.reader.read(3)
    expected = smooth_pixels(3)[BOX[1] : BOX[3], BOX[0] : BOX[2]]
    assert np.array_equal(picture.pixels_HWC, expected)
    assert (picture.width, picture.height) == (20, 30)


def test_corner_and_size_is_an_option_where_the_file_does_not_say(photos: Path) -> None:
    path = write(photos, "json")
    found = read_annotations(path, "xywh")
    assert found.boxes_N4[0].tolist() == [4, 6, 28, 42]


def test_boxes_of_one_image_stay_in_one_split(photos: Path) -> None:
    rows = ["image,x0,y0,x1,y1,label"]
    for seed in range(12):
        rows += [f"{seed:02}.png,{k},{k},{k + 20},{k + 20},{'ab'[k % 2]}" for k in range(4)]
    path = photos / "many.csv"
    path.write_text("\n".join(rows))
    data = ImageData(str(path), size=16, resize=1.0, validation=0.2, test=0.2)
    where: dict[str, set[str]] = {}
    for split, items in data.splits["items"].items():
        for name in items:
            where.setdefault(name.split("#")[0], set()).add(split)
    assert len(where) == 12
    assert all(len(splits) == 1 for splits in where.values())
    assert data.report.groups == 12
    assert data.classes == ("a", "b")
    assert data.report.count == 48
    again = ImageData(str(path), size=16, resize=1.0, splits=data.splits)
    assert again.splits["items"] == data.splits["items"]


def test_the_target_is_clean_when_the_input_is_degraded(photos: Path) -> None:
    data = ImageData(
        str(write(photos, "csv corners")), size=16, resize=1.0, noise=0.2, random_crop=False,
        flip=False,
    )  # fmt: skip
    batch = data.train.batch([(0, 3), (1, 3)])
    assert not torch.equal(batch["x"], batch["target"])
    clean = ImageData(
        str(write(photos, "csv corners")), size=16, resize=1.0, random_crop=False, flip=False
    )
    assert torch.equal(clean.train.batch([(0, 3), (1, 3)])["x"], batch["target"])


def test_unusable_boxes_are_skipped_and_counted_by_reason(photos: Path) -> None:
    path = photos / "boxes.csv"
    rows = [f"{n:02}.png,4,6,24,36" for n in range(8)]
    rows += ["08.png,100,6,124,36", "09.png,4,6,4,36", "10.png,4,nan,24,36", "gone.png,4,6,24,36"]
    rows += ["11.png,30,30,60,60", "11.png,,6,24,36"]
    path.write_text("\n".join(["image,x0,y0,x1,y1", *rows]))
    report = inspect_images(str(path)).to_json()
    assert {reason: node["count"] for reason, node in report["skipped"].items()} == {
        "box outside the image": 1,
        "empty box": 1,
        "box or points without numbers": 2,
        "missing file": 1,
    }
    assert report["count"] == 9
    assert report["notes"] == {"box clipped to the image": 1}
    with pytest.raises(DataError, match="strict"):
        ImageData(str(path), size=16, strict=True)


def test_missing_landmarks_are_left_out_of_the_box(photos: Path) -> None:
    path = photos / "points.csv"
    path.write_text(
        "image,a_x,a_y,b_x,b_y,c_x,c_y\n"
        "00.png,5,6,20,30,,\n"
        "01.png,5,6,,,nan,nan\n"
        "02.png,5,6,20,30,35,40\n"
    )
    found = read_annotations(path)
    assert found.boxes_N4[0].tolist() == [5, 6, 20, 30]
    assert np.isnan(found.boxes_N4[1]).all()
    assert found.missing_points == (1, 2, 0)
    source = open_boxes(path)
    assert "some landmarks missing" in source.reader.read(0).notes
    with pytest.raises(UnreadableImage, match="without numbers"):
        source.reader.read(1)


@pytest.mark.parametrize(
    ("box", "rules", "expected"),
    [
        ((10, 10, 20, 30), BoxRules(square=False), (10, 10, 20, 30)),
        ((10, 10, 20, 30), BoxRules(), (5, 10, 25, 30)),
        ((0, 10, 10, 30), BoxRules(), (0, 10, 20, 30)),  # shifted inside, not cut
        ((10, 10, 20, 30), BoxRules(margin=0.1, square=False), (8, 8, 22, 32)),
        ((0, 0, 100, 50), BoxRules(), (0, 0, 100, 50)),  # no room to lengthen
        ((-20, 10, 20, 30), BoxRules(square=False), (0, 10, 20, 30)),
    ],
)
def test_how_a_box_becomes_a_crop(box, rules, expected) -> None:
    assert place(np.array(box, float), 100, 50, rules)[:4] == expected


def test_a_pickled_dictionary_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "boxes.npy"
    np.save(path, np.array({"image_paths": ["a.png"], "bboxes": [[0, 0, 1, 1]]}, object))
    with pytest.raises(DataError, match=r"numpy\.savez\('boxes\.npz'"):
        ImageData(str(path))
    archive = tmp_path / "boxes.npz"
    np.savez(archive, image_paths=np.array([{"a": 1}], object), bboxes=np.zeros((1, 4)))
    with pytest.raises(DataError, match="pickle"):
        ImageData(str(archive))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "image,x0,y0\n1.png,1,2\n", "not a set of images"),
        ("a.csv", "image,x0,y0,x1,y1\n00.png,1,2,3,four\n", "line 2, column y1"),
        ("a.csv", "image,x0,y0,x1,y1\n", "without boxes"),
        ("a.csv", "image,x0,y0,x1,y1\n,1,2,3,4\n", "entry 1"),
        ("a.csv", "image,x0,y0,x1,y1\nnowhere.png,1,2,3,4\n", r"data\.image_root"),
        ("a.json", '{"image_paths": ["00.png"], "bboxes": [[1, 2, 3]]}', "do not fit"),
        ("a.json", '{"boxes": []}', "names no boxes"),
        ("a.json", '{"images": [{"id": 1}], "annotations": [{"bbox": []}]}', "not complete"),
        ("a.json", "{", "cannot be read"),
    ],
)
def test_files_that_are_wrong_say_how(photos: Path, name: str, text: str, message: str) -> None:
    (photos / name).write_text(text)
    with pytest.raises(DataError, match=message):
        ImageData(str(photos / name))


def test_paths_may_start_elsewhere(photos: Path, tmp_path: Path) -> None:
    path = write(photos, "csv corners").rename(tmp_path / "elsewhere.csv")
    with pytest.raises(DataError, match="none of the images"):
        ImageData(str(path))
    assert ImageData(str(path), image_root=str(photos), size=16).report.count == 12
    with pytest.raises(DataError, match="margin"):
        ImageData(str(path), image_root=str(photos), box_margin=-0.5)
