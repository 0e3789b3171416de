"""Training a prior: it learns what can be known, resumes bit for bit, and counts as it says."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from pellucid.errors import DataError, RecipeError, RunError
from pellucid.priors.conditions import CodeSet
from pellucid.priors.fit import fit_prior, validate
from pellucid.priors.layout import Layout
from pellucid.priors.ngrams import baselines
from pellucid.priors.phrases import (
    find_class,
    phrases_from_captions,
    phrases_from_classes,
    phrases_of_class,
    read_captions,
)
from pellucid.priors.schedule import Schedule
from pellucid.priors.stored import PriorRecord, load_prior, require_same_tokens, save_prior
from pellucid.priors.text import ByteEncoder, to_bytes
from pellucid.priors.transformer import CodeTransformer

LAYOUT = Layout(6, (5,))
SCHEDULE = Schedule(
    steps=8, batch_size=16, learning_rate=1e-2, weight_decay=0.0, warmup_steps=2, clip_norm=1.0,
    condition_dropout=0.2, validate_every=4, patience=None, precision="float32", seed=3,
)  # fmt: skip


def model(**keywords):
    torch.manual_seed(0)
    return CodeTransformer(LAYOUT, width=16, layers=1, heads=2, dropout=0.1, **keywords)


def labelled_codes(n=64, seed=0):
    """Sequences whose every code is the label: all can be known from class or prompt."""
    labels = torch.randint(3, (n,), generator=torch.Generator().manual_seed(seed))
    phrases = phrases_from_classes(["cat", "dog", "fox"], labels.tolist())
    return CodeSet(
        labels[:, None].expand(-1, 5).clone(), labels, to_bytes(phrases.prompts), phrases.choices
    )


def test_classes_and_prompts_are_learned(tmp_path):
    torch.set_num_threads(1)
    prior = model(classes=3, text="bytes")
    schedule = dataclasses.replace(SCHEDULE, steps=70, validate_every=70)
    fit_prior(prior, labelled_codes(), labelled_codes(seed=1), tmp_path / "checkpoint", schedule)
    for phrase, code in (("A photograph of one DOG", 1), ("fox!", 2), ("the cat sat", 0)):
        told = prior.condition(count=1, text=to_bytes([phrase]))
        with torch.no_grad():
            assert int(prior(torch.zeros(1, 5, dtype=torch.long), told)[0, 0].argmax()) == code
    told_bits, absent_bits = validate(prior, labelled_codes(seed=2), precision="float32")
    assert told_bits < 0.1
    assert absent_bits > 0.25  # log₂3 bits for the first of five codes


def test_resuming_is_exact(tmp_path):
    whole = model(classes=3, text="bytes")
    fit_prior(whole, labelled_codes(), labelled_codes(seed=1), tmp_path / "a", SCHEDULE)

    def kill(done, total):
        if done == 6:
            raise KeyboardInterrupt

    broken = model(classes=3, text="bytes")
    with pytest.raises(KeyboardInterrupt):
        fit_prior(
            broken,
            labelled_codes(),
            labelled_codes(seed=1),
            tmp_path / "b",
            SCHEDULE,
            progress=kill,
        )
    resumed = model(classes=3, text="bytes")
    torch.manual_seed(99)
    before = torch.get_rng_state()
    fit_prior(
        resumed, labelled_codes(), labelled_codes(seed=1), tmp_path / "b", SCHEDULE, resume=True
    )
    assert torch.equal(torch.get_rng_state(), before)  # training leaves no trace in the generator
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_resumed_prior_keeps_its_schedule_and_shape(tmp_path):
    plain = CodeSet(labelled_codes().sequences)
    fit_prior(model(), plain, plain, tmp_path / "c", SCHEDULE)
    other = dataclasses.replace(SCHEDULE, batch_size=8)
    with pytest.raises(RunError, match="batch_size = 16"):
        fit_prior(model(), plain, plain, tmp_path / "c", other, resume=True)
    with pytest.raises(RunError, match="another prior"):
        fit_prior(model(tied=True), plain, plain, tmp_path / "c", SCHEDULE, resume=True)
    with pytest.raises(RunError, match="nothing to resume"):
        fit_prior(model(), plain, plain, tmp_path / "d", SCHEDULE, resume=True)
    big = dataclasses.replace(SCHEDULE, batch_size=65)
    with pytest.raises(RecipeError, match="batch_size"):
        fit_prior(model(), plain, plain, tmp_path / "d", big)


def test_patience_keeps_the_best(tmp_path):
    noise = CodeSet(torch.randint(6, (16, 5), generator=torch.Generator().manual_seed(0)))
    other = CodeSet(torch.randint(6, (200, 5), generator=torch.Generator().manual_seed(1)))
    schedule = dataclasses.replace(SCHEDULE, steps=200, validate_every=5, patience=2)
    prior = model()
    fitted = fit_prior(prior, noise, other, tmp_path / "checkpoint", schedule)
    assert fitted.stopped_early
    bits = {step: told for step, told, _ in fitted.validation}
    assert bits[fitted.best_step] == min(bits.values())
    assert validate(prior, other, precision="float32")[0] == pytest.approx(min(bits.values()))


def test_baselines_are_the_entropies_of_a_known_chain():
    """A code repeats the one before with probability 0.9: H₁ = 1 bit, H₂ = H(0.9)."""
    generator = torch.Generator().manual_seed(0)
    flips = torch.rand(4000, 40, generator=generator) > 0.9
    flips[:, 0] = torch.rand(4000, generator=generator) > 0.5
    chain = flips.long().cumsum(1) % 2
    found = baselines(chain[:3000], chain[3000:], Layout(2, (40,)))
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert found.uniform == 1
    assert found.unigram == pytest.approx(1, abs=0.01)
    assert found.bigram == pytest.approx((39 * entropy + 1) / 40, abs=0.01)


def test_baselines_of_levels_are_kept_apart_and_unseen_codes_are_finite():
    layout = Layout(4, (3,), levels=2)
    train = torch.tensor([[0, 3, 0, 3, 0, 3]]).repeat(500, 1)
    assert baselines(train, train, layout).unigram < 0.02
    surprise = torch.tensor([[2, 1, 2, 1, 2, 1]])
    found = baselines(train, surprise, layout)
    assert math.isfinite(found.bigram)
    assert 5 < found.unigram < math.inf


def test_a_prior_comes_back_from_disk_and_knows_its_codes(tmp_path):
    prior = model(classes=3, text="bytes").eval()
    keywords = {"width": 16, "layers": 1, "heads": 2, "dropout": 0.1, "classes": 3, "text": "bytes"}
    record = PriorRecord(LAYOUT, keywords, "abc", None, ("a", "b", "c"), "bytes", None, {}, {})
    save_prior(prior, record, tmp_path / "own")
    loaded, read = load_prior(tmp_path / "own")
    assert read == record
    codes = torch.randint(6, (2, 5))
    with torch.no_grad():
        assert torch.equal(loaded(codes), prior(codes))
    require_same_tokens(read, "abc", where=tmp_path)
    with pytest.raises(RunError, match="other codes"):
        require_same_tokens(read, "abd", where=tmp_path)
    (tmp_path / "own" / "prior.json").write_text('{"version": 1}')
    with pytest.raises(RunError, match="damaged"):
        load_prior(tmp_path / "own")
    with pytest.raises(RunError, match="no such prior"):
        load_prior(tmp_path / "none")


@pytest.mark.parametrize("prompt", ["", "   ", "ఏడు", "七", "seven 🙂", "x" * 256])
def test_prompts_in_any_script_become_finite_vectors(prompt):
    encoder = ByteEncoder(8, channels=16).eval()
    vector = encoder(to_bytes([prompt]))
    assert vector.isfinite().all()
    padded = encoder(to_bytes([prompt, "a much longer prompt than the other"]))[:1]
    torch.testing.assert_close(padded, vector, atol=1e-5, rtol=1e-4)  # padding takes no part


def test_a_prompt_that_is_too_long_is_refused():
    with pytest.raises(DataError, match="at most 256 bytes"):
        to_bytes(["x" * 257])


def test_phrases_name_numbers_both_ways_and_classes_in_words():
    sevens = phrases_of_class("7")
    assert {"7", "seven", "digit 7", "the digit seven"} <= set(sevens)
    assert "a photo of a t shirt" in phrases_of_class("t-shirt")
    assert find_class("seven", ["3", "7"]) == 1
    assert find_class("T-Shirt", ["pants", "t-shirt"]) == 1
    with pytest.raises(DataError, match="did you mean 'pants'"):
        find_class("pant", ["pants", "t-shirt"])


def test_captions_are_read_from_json_and_csv(tmp_path):
    (tmp_path / "c.json").write_text('{"a.jpg": "a hat", "b.jpg": ["a cap", "a red cap"]}')
    (tmp_path / "c.csv").write_text('file,text\na.jpg,"a hat"\nb.jpg,a cap\nb.jpg,a red cap\n')
    captions = read_captions(tmp_path / "c.json")
    assert captions == read_captions(tmp_path / "c.csv")
    phrases = phrases_from_captions(captions, ["b.jpg", "a.jpg", "b.jpg"])
    assert [phrases.prompts[i] for i in phrases.choices[0]] == ["a cap", "a red cap"]
    assert phrases.choices[0] == phrases.choices[2]
    with pytest.raises(DataError, match=r"1 of 2 files have no caption[\s\S]*'a.jpg'"):
        phrases_from_captions(captions, ["a.jpeg", "b.jpg"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", "[1, 2]", "map file names to texts"),
        ("c.json", "{", "not JSON"),
        ("c.csv", "only one column\n", "two columns"),
        ("c.json", "{}", "no captions"),
    ],
)
def test_damaged_captions_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_captions(tmp_path / name)
