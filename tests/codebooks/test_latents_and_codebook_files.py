"""What is written is what is read; half a folder, another model or a wrong code is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from fitted_run import run_with_latents, small_vae

from pellucid.codebooks import Codebook, codebook_names, export_latents, open_latents, read_codes
from pellucid.codebooks.codebook import save_codebook, save_tuning
from pellucid.codebooks.codes import Codes
from pellucid.codebooks.rules import Decoded, Nearest, ThroughGraph, grid_patches
from pellucid.errors import PellucidError, RunError


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return run_with_latents(tmp_path_factory.mktemp("latents"))


def test_latents_are_those_of_the_unaugmented_samples_in_order(exported):
    _, model, latents, data = exported
    assert set(latents.splits) == {"train", "validation", "test"}
    for name, split in latents.splits.items():
        images = getattr(data, name).unaugmented()
        x = torch.stack([images[i]["x"] for i in range(len(images))])
        torch.testing.assert_close(torch.tensor(split.mean), model.encode(x).mean)
        assert split.labels.tolist() == [images[i]["label"] for i in range(len(images))]


def test_z_is_the_posterior_sample_of_the_stated_seed(exported):
    _, _, latents, _ = exported
    split = latents.splits["test"]
    noise = torch.randn(split.mean.shape, generator=torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(split.z, split.mean + np.exp(split.logvar / 2) * noise, rtol=1e-5)


def test_latents_are_reused_until_model_or_seed_changes(exported):
    run, model, *_ = exported

    def refused():
        raise AssertionError("the data were opened again")

    export_latents(run, model, refused)
    with pytest.raises(AssertionError, match="opened again"):
        export_latents(run, small_vae(seed=1), refused)
    with pytest.raises(AssertionError, match="opened again"):
        export_latents(run, model, refused, seed=3)


def test_an_interrupted_export_leaves_nothing_that_counts(tmp_path):
    run, model, latents, data = run_with_latents(tmp_path)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_latents(run, small_vae(seed=1), lambda: data, progress=interrupt)
    assert open_latents(run).model == latents.model
    shutil.rmtree(run.latents)
    with pytest.raises(KeyboardInterrupt):
        export_latents(run, model, lambda: data, progress=interrupt)
    with pytest.raises(RunError, match="not exported"):
        open_latents(run)
    assert not list(run.path.glob(".latents*"))


def test_a_latents_file_of_another_shape_is_refused(tmp_path):
    run, *_ = run_with_latents(tmp_path)
    np.save(run.latents / "test.mean.npy", np.zeros((1, 3, 2, 2), np.float32))
    with pytest.raises(RunError, match="another shape"):
        open_latents(run)


def test_waveforms_are_refused(exported):
    run, model, *_ = exported
    clips = type("Clips", (), {name: [] for name in ("train", "validation", "test")})
    with pytest.raises(PellucidError, match="images of one size"):
        export_latents(run, model, clips, seed=9)


def rules(model, vectors):
    anchors = torch.randn(30, 3)
    distance = torch.rand(30).where(torch.arange(30) > 3, torch.inf)
    graph = (vectors, anchors, distance, torch.arange(30) % len(vectors), 4)
    patches = grid_patches(torch.no_grad()(model.decode), model.stride)
    return [
        Nearest(vectors),
        ThroughGraph(*graph),
        ThroughGraph(*graph, torch.eye(3).expand(30, 3, 3).contiguous()),
        Decoded(torch.randn(len(vectors), 3 * 64), patches),
    ]


@pytest.mark.parametrize("which", range(4), ids=["nearest", "graph", "pulled-back", "decoded"])
def test_a_codebook_comes_back_as_it_was_saved(exported, which):
    run, model, latents, _ = exported
    torch.manual_seed(0)
    vectors = torch.randn(7, 3)
    book = Codebook("mine", vectors, rules(model, vectors)[which], model)
    mean = torch.tensor(latents.splits["test"].mean)
    codes = book.encode(mean)
    assert codes.shape == (len(mean), 2, 2)
    stored = {"test": Codes(codes, torch.zeros(len(mean), dtype=torch.int64))}
    save_codebook(run, book, stored, {"method": "test"})
    again = Codebook.open(run, "mine", model)
    assert codebook_names(run) == ["mine"]
    assert torch.equal(again.encode(mean), codes)
    assert torch.equal(read_codes(run, "mine", "test").codes, codes)
    assert torch.equal(again.lookup(codes), vectors[codes].movedim(-1, 1))
    assert torch.equal(again.decode(codes), model.decode(again.lookup(codes)))


def test_an_identity_metric_is_latent_distance(exported):
    _, model, latents, _ = exported
    torch.manual_seed(1)
    vectors = torch.randn(7, 3)
    _, plain, pulled_back, _ = rules(model, vectors)
    mean = torch.tensor(latents.splits["train"].mean)
    assert torch.equal(plain(mean), pulled_back(mean))


def test_stranded_points_take_the_nearest_vector():
    vectors = torch.randn(5, 3)
    nowhere = torch.full((30,), torch.inf)
    anchors, codes = torch.randn(30, 3), torch.zeros(30, dtype=torch.int64)
    mean = torch.randn(4, 3, 2, 2)
    stranded = ThroughGraph(vectors, anchors, nowhere, codes, 4)
    assert torch.equal(stranded(mean), Nearest(vectors)(mean))


def test_a_tuned_decoder_counts_only_with_its_record(exported):
    run, model, latents, _ = exported
    vectors = torch.randn(4, 3)
    book = Codebook("tuned", vectors, Nearest(vectors), model)
    save_codebook(run, book, {}, {"method": "test"})
    other = small_vae(seed=5).decoder
    save_tuning(run, "tuned", other, {"steps": 1})
    codes = book.encode(torch.tensor(latents.splits["test"].mean))
    opened = Codebook.open(run, "tuned", model)
    assert torch.equal(opened.decode(codes), other(opened.lookup(codes)))
    plain = Codebook.open(run, "tuned", model, tuned=False)
    assert torch.equal(plain.decode(codes), model.decode(plain.lookup(codes)))
    (run.codebook("tuned") / "tuning.json").unlink()
    assert Codebook.open(run, "tuned", model).decoder is None


def test_a_codebook_whose_writing_was_cut_short_leaves_the_old_one(exported, monkeypatch):
    run, model, *_ = exported
    old, new = torch.zeros(4, 3), torch.ones(5, 3)
    save_codebook(run, Codebook("cut", old, Nearest(old), model), {}, {"method": "test"})

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_json", cut)
    with pytest.raises(KeyboardInterrupt):
        save_codebook(run, Codebook("cut", new, Nearest(new), model), {}, {"method": "test"})
    assert torch.equal(Codebook.open(run, "cut", model).vectors, old)
    assert [path.name for path in run.codebooks.iterdir() if path.name.startswith(".")] == []


def test_bad_input_is_named(exported):
    run, model, *_ = exported
    vectors = torch.randn(4, 3)
    book = Codebook("named", vectors, Nearest(vectors), model)
    save_codebook(run, book, {}, {"method": "kmeans"})
    with pytest.raises(PellucidError, match="out of range"):
        book.decode(torch.full((1, 2, 2), 4))
    with pytest.raises(PellucidError, match="do not fit the codebook"):
        book.encode(torch.zeros(1, 5, 2, 2))
    with pytest.raises(RunError, match="belongs to another model"):
        Codebook.open(run, "named", small_vae(seed=1))
    with pytest.raises(PellucidError, match="did you mean 'named'"):
        Codebook.open(run, "nmed", model)
    with pytest.raises(RunError, match="no codes"):
        read_codes(run, "nmed", "train")
