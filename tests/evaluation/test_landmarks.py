"""Heat maps find their points, heads learn what features hold, folds keep time apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.data.points import read_points
from pellucid.errors import DataError
from pellucid.evaluation.landmarks.fields import encoder_maps, patch_pca_maps
from pellucid.evaluation.landmarks.head import Fields, fit_head
from pellucid.evaluation.landmarks.protocol import Protocol, run_trials
from pellucid.evaluation.landmarks.score import differences, score
from pellucid.functional.heatmaps import gaussian_heatmaps, soft_argmax
from pellucid.metrics.landmarks import (
    correct_share,
    cumulative_errors,
    extent,
    normalised_mean_error,
    point_errors,
)


def test_soft_argmax_undoes_a_gaussian():
    points = torch.tensor([[30.7, 41.2], [10.0, 85.9], [torch.nan, torch.nan]])
    heat = gaussian_heatmaps(points, (24, 20), cell=4.0, sigma=1.0)
    assert heat.shape == (3, 24, 20)
    assert not heat[2].any()
    logits = heat[:2].clamp_min(1e-12).log()
    assert torch.allclose(soft_argmax(logits, cell=4.0, radius=4), points[:2], atol=0.15)
    corner = torch.zeros(1, 5, 5)
    corner[0, 0, 4] = 9.0
    assert soft_argmax(corner, cell=2.0, radius=2).tolist() == [[9.0, 1.0]]
    far = logits.clone()
    far[:, 0, 0] = -1.0  # a distant second peak does not pull
    assert torch.allclose(soft_argmax(far, cell=4.0, radius=4), points[:2], atol=0.15)


def test_errors_in_closed_form():
    true = np.array([[[0.0, 0.0], [3.0, 4.0]], [[1.0, 1.0], [np.nan, np.nan]]])
    found = np.array([[[0.0, 1.0], [3.0, 4.0]], [[1.0, 3.0], [5.0, 5.0]]])
    errors = point_errors(found, true)
    assert errors[0].tolist() == [1.0, 0.0]
    assert errors[1, 0] == 2.0
    assert np.isnan(errors[1, 1])
    assert extent(true)[0] == 5.0
    assert np.isnan(extent(true)[1])
    lengths = np.array([5.0, 10.0])
    assert normalised_mean_error(errors, lengths).tolist() == [0.1, 0.2]
    assert correct_share(errors, lengths, 0.2) == 1.0
    assert correct_share(errors, lengths, 0.1) == pytest.approx(1 / 3)
    curve = cumulative_errors(errors / lengths[:, None], np.array([0.0, 0.2, 1.0]))
    assert curve.tolist() == pytest.approx([1 / 3, 1.0, 1.0])
    with pytest.raises(DataError, match="pair up"):
        point_errors(found[:1], true)
    with pytest.raises(DataError, match="not finite"):
        point_errors(np.full_like(found, np.nan), true)


def spots(images: int = 16, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Maps whose first two channels peak at two points, among channels of noise."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(20, 76, size=(images, 2, 2))
    maps = []
    for one in points:
        heat = gaussian_heatmaps(torch.from_numpy(one), (24, 24), cell=4.0, sigma=1.5).numpy()
        noise = rng.normal(size=(6, 24, 24))
        maps.append(np.concatenate([heat, noise]).astype(np.float32))
    return maps, points


def test_a_head_finds_what_the_features_hold_and_noise_holds_nothing():
    maps, points = spots()
    points[3, 1] = np.nan  # a missing point neither teaches nor counts
    fields = Fields.build(maps, points, [4.0] * 16)
    again = fit_head(fields, points, range(6)), fit_head(fields, points, range(6))
    assert torch.equal(again[0].weights, again[1].weights)
    found = np.stack([fields.points(again[0].weights, i) for i in range(6, 16)])
    assert np.linalg.norm(found - points[6:], axis=-1).mean() < 2.0  # half a cell
    blind = Fields.build([m[2:] for m in maps], points, [4.0] * 16)
    lost = np.stack([blind.points(fit_head(blind, points, range(6)).weights, 9)])
    assert np.linalg.norm(lost - points[9], axis=-1).mean() > 4.0


@pytest.mark.parametrize("background", [1, 40, 10_000])
def test_fewer_background_cells_stand_for_as_many(background):
    maps, points = spots()
    points[3, 1] = np.nan
    fields = Fields.build(maps, points, [4.0] * 16)
    for index in (0, 3):
        whole = fields.cells[index]
        thin = whole.thinned(background)
        assert len(thin.f_ND) == min(len(whole.f_ND), whole.near + background)
        assert float(thin.log_weight_N.exp().sum()) == pytest.approx(24 * 24, rel=1e-4)
        assert torch.allclose(thin.target_LN.sum(1), whole.target_LN.sum(1), atol=1e-5)
        assert torch.equal(thin.f_ND[: whole.near], whole.f_ND[: whole.near])


def test_blocks_of_time_and_equal_draws():
    protocol = Protocol(blocks=4, labels=(3, None), draws=2, margin=1)
    folds = protocol.folds(range(20))
    assert [tested for _, tested in folds] == np.arange(20).reshape(4, 5).tolist()
    for rest, tested in folds:
        assert min(abs(r - t) for r in rest for t in tested) == 2  # the margin
    rest = folds[0][0]
    assert protocol.chosen(rest, 3, 0) == protocol.chosen(rest, 3, 0)
    assert protocol.chosen(rest, 3, 0) != protocol.chosen(rest, 3, 1)
    assert protocol.chosen(rest, None, 1) == rest
    with pytest.raises(DataError, match="too few labelled images"):
        protocol.folds(range(7))


def test_trials_and_scores_tell_good_features_from_bad():
    maps, points = spots(16)
    good = Fields.build(maps, points, [4.0] * 16)
    bad = Fields.build([m[1:] for m in maps], points, [4.0] * 16)
    protocol = Protocol(blocks=2, labels=(4,), draws=1)
    steps: list[int] = []
    trials = {
        name: run_trials(
            lambda draw, fields=fields: fields,
            points,
            range(16),
            protocol,
            lambda: steps.append(1),
        )
        for name, fields in (("run", good), ("random", bad))
    }
    assert len(steps) == 4
    lengths, diagonals = np.full(16, 50.0), np.full(16, 136.0)
    told = score(trials["run"][4], ["a", "b"], lengths, diagonals, list(range(16)))
    assert told["nme"]["low"] <= told["nme"]["value"] <= told["nme"]["high"]
    assert told["pck_length"] > 0.9
    gap = differences(trials, "run", lengths, list(range(16)))["random"]["4"]
    assert gap["high"] < 0


def test_pca_of_patches_sees_a_spot_where_it_is():
    images = []
    rng = np.random.default_rng(0)
    for _ in range(6):
        image = torch.zeros(1, 1, 64, 80)
        top, left = rng.integers(16, 48), rng.integers(16, 60)
        image[..., top - 4 : top + 4, left - 4 : left + 4] = 1.0
        images.append(image)
    maps = patch_pca_maps(images, 4, 5)
    y = maps(images[0])
    assert y.shape == (5, 16, 20)
    flat = torch.zeros(1, 1, 64, 80)
    change = (y - maps(flat)).square().sum(0)
    row, column = divmod(int(change.argmax()), 20)
    inside = images[0][0, 0, row * 4 - 4 : row * 4 + 8, column * 4 - 4 : column * 4 + 8]
    assert inside.any()


def test_layers_share_one_grid():
    from pellucid.bottlenecks import Gaussian
    from pellucid.models.autoencoder import Autoencoder
    from pellucid.models.layers import FeatureExtractor
    from pellucid.nn import ResidualDecoder, ResidualEncoder

    sizes = {"stride": 8, "width": 8, "multipliers": (1, 2, 2)}
    model = Autoencoder(
        ResidualEncoder(1, 8, **sizes), Gaussian(8, 4), ResidualDecoder(4, 1, **sizes)
    )
    extractor = FeatureExtractor(model.eval(), ["stride_2", "stride_4", "latent"])
    assert encoder_maps(extractor, 4)(torch.zeros(1, 1, 37, 50)).shape == (8 + 16 + 4, 10, 13)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("image,a_x,a_y\n1.png,1,two\n", "is no number"),
        ("image,a_x,a_y\n1.png,1,\n", "one of x and y"),
        ("image,a_x,b_y\n1.png,1,2\n", "'a' has one of x and y"),
        ("image,a\n1.png,1\n", "no columns of points"),
        ("image,a_x,a_y\n1.png,1,2\n1.png,1,2\n", "occurs twice"),
        ("image,a_x,a_y\n1.png,inf,2\n", "infinite"),
        ("image,a_x,a_y\n", "no landmarks in this file"),
    ],
)
def test_wrong_points_are_refused_with_their_place(tmp_path, text, part):
    file = tmp_path / "points.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=part):
        read_points(file)


def test_points_are_read_in_both_forms(tmp_path):
    plain = tmp_path / "plain.csv"
    plain.write_text("image,nose_x,nose_y,left ear.x,left ear.y\nb.png,1.5,2,,\na.png,3,4,5,NaN6\n")
    with pytest.raises(DataError, match="NaN6"):
        read_points(plain)
    plain.write_text("image,nose_x,nose_y,left ear.x,left ear.y\nb.png,1.5,2,,\na.png,3,4,5,6\n")
    points = read_points(plain)
    assert points.images == ("b.png", "a.png")
    assert points.names == ("nose", "left ear")
    assert points.missing == 1
    assert points.xy[1].tolist() == [[3, 4], [5, 6]]
    deeplabcut = tmp_path / "dlc.csv"
    deeplabcut.write_text(
        "scorer,,,me,me\nbodyparts,,,nose,nose\ncoords,,,x,y\nlabeled-data,m4,i0.png,7,8\n"
    )
    points = read_points(deeplabcut)
    assert points.images == ("labeled-data/m4/i0.png",)
    assert points.xy.tolist() == [[[7, 8]]]
