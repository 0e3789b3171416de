"""The doctor finds planted faults, keeps quiet about healthy models, and leaves no trace."""

import json
import logging
import math

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.diagnosis.diagnose import examine_rows
from pellucid.doctor.account import Account
from pellucid.doctor.attach import split_loss
from pellucid.doctor.batches import Kept
from pellucid.doctor.preflight import head_bounds
from pellucid.errors import PellucidError


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blobs(count: int = 96, seed: int = 0) -> torch.Tensor:
    """Smooth images (N, 1, 8, 8) in [−1, 1] with few degrees of freedom."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 1, 3, 3, generator=generator) * 2 - 1
    return nn.functional.interpolate(small, size=8, mode="bilinear", align_corners=True)


class Quantizer(nn.Module):
    """Nearest codebook vector, with or without a straight-through path."""

    def __init__(self, dead: bool) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(32, 8) * 0.3)
        self.dead = dead

    def forward(self, z):
        codes = torch.cdist(z, self.codebook).argmin(1)
        q = self.codebook[codes]
        loss = (q - z.detach()).square().mean() + 0.25 * (z - q.detach()).square().mean()
        return (q.detach() if self.dead else z + (q - z).detach()), codes, loss


class Net(nn.Module):
    """encode, decode and nothing of Lightning."""

    def __init__(self, head: nn.Module | None = None, dead: bool | None = None) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.SiLU(), nn.Linear(48, 8))
        self.decoder = nn.Sequential(
            nn.Linear(8, 48), nn.SiLU(), nn.Linear(48, 64), head or nn.Identity()
        )
        self.quantizer = None if dead is None else Quantizer(dead)

    def encode(self, x):
        z = self.encoder(x)
        if self.quantizer is None:
            return z
        q, codes, _ = self.quantizer(z)
        return pellucid.Latent(mean=z, codes=codes, quantized=q)

    def decode(self, z):
        return self.decoder(z).view(-1, 1, 8, 8)


class Lit(lightning.LightningModule):
    """Anybody's training: (x, label) batches, a logged loss, dropout noise from the global RNG."""

    def __init__(self, *, own: str = "all", period: int = 2, gain: float = 1.0, **net) -> None:
        super().__init__()
        self.model, self.own, self.period, self.gain = Net(**net), own, period, gain

    def training_step(self, batch, batch_idx):
        x, label = batch
        assert len(x) == len(label)
        noisy = x + 0.01 * torch.randn_like(x)
        z = self.model.encoder(noisy)
        extra = z.square().mean()
        if self.model.quantizer is not None:
            z, _, extra = self.model.quantizer(z)
        recon = (self.model.decode(z) - self.gain * x - (self.gain - 1)).square().mean()
        self.log("recon", recon)
        self.log("extra", extra, prog_bar=True)
        return recon + 1e-3 * extra if self.model.quantizer is None else recon + extra

    def validation_step(self, batch, batch_idx):
        x, _ = batch
        self.log("val", (self.model.decode(self.model.encoder(x)) - x).square().mean())

    def configure_optimizers(self):
        owner = self.model.decoder if self.own == "decoder" else self
        optimizer = torch.optim.Adam(owner.parameters(), lr=3e-3)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, self.period)]


class Adversarial(lightning.LightningModule):
    """Manual optimisation with two optimisers, encode and decode on the module itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net = Net()
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

    def encode(self, x):
        return self.net.encode(x)

    def decode(self, z):
        return self.net.decode(z)

    def training_step(self, batch, batch_idx):
        x, _ = batch
        first, second = self.optimizers()
        x_hat = self.decode(self.encode(x))
        loss = (x_hat - x).square().mean() - 1e-3 * self.critic(x_hat).mean()
        first.zero_grad()
        self.manual_backward(loss)
        first.step()
        second.zero_grad()
        self.manual_backward(self.critic(x_hat.detach()).mean() - self.critic(x).mean())
        second.step()
        self.lr_schedulers().step()

    def configure_optimizers(self):
        first = torch.optim.Adam(self.net.parameters(), lr=3e-3)
        second = torch.optim.SGD(self.critic.parameters(), lr=1e-2, momentum=0.9)
        return [first, second], [torch.optim.lr_scheduler.StepLR(first, 5)]


def fit(tmp_path, module, *callbacks, epochs=3, logger=None, validate=True, **trainer):
    """Train on shuffled data through a loader that draws from the global random state."""

    def data(seed):
        x = blobs(seed=seed)
        return TensorDataset(x, torch.arange(len(x)))

    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        default_root_dir=tmp_path,
        logger=logger or False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"enable_checkpointing": False, **trainer},
    )
    loaders = [DataLoader(data(0), 16, shuffle=True)]
    if validate:
        loaders.append(DataLoader(data(1), 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "ignore")
        trainer.fit(module, *loaders)
    return trainer


def read(folder):
    return json.loads((folder / "diagnosis.json").read_text())


def asserted(node):
    return {f["id"] for f in node["findings"] if f["confidence"] >= 0.5}


@pytest.fixture
def generous():
    """A doctor with time enough on a toy that trains for milliseconds."""
    return lambda **more: pellucid.Doctor(
        overhead=1e3, budget_seconds=4, preflight_seconds=4, **more
    )


@pytest.fixture
def spoken(caplog):
    """Count the doctor's announcements of a row."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).propagate = True
    caplog.set_level(logging.INFO)
    return lambda row: sum(
        "doctor, epoch" in r.getMessage() and f": {row} (" in r.getMessage() for r in caplog.records
    )


def test_a_sigmoid_head_on_signed_data_is_said_once_logged_and_written(tmp_path, generous, spoken):
    torch.manual_seed(0)
    logger = CSVLogger(tmp_path)
    fit(tmp_path, Lit(head=nn.Sigmoid()), generous(), logger=logger)
    node = read(tmp_path / "lightning_logs" / "version_0")
    assert "range-mismatch" in asserted(node)
    assert node["healthy"] is False
    assert spoken("range-mismatch") == 1
    assert (
        "doctor/range-mismatch" in (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()
    )


def test_the_preflight_alone_finds_the_head(tmp_path, generous):
    torch.manual_seed(0)
    doctor = generous(every_n_epochs=100)
    fit(tmp_path, Lit(head=nn.Sigmoid()), doctor, epochs=1)
    assert asserted(read(tmp_path)) == {"range-mismatch"}
    assert any("one batch took its FVU" in note for note in read(tmp_path)["notes"])


def test_the_preflight_finds_a_dead_straight_through(tmp_path, generous):
    torch.manual_seed(0)
    fit(tmp_path, Lit(dead=True), generous(every_n_epochs=100), epochs=1)
    assert "straight-through-gain" in asserted(read(tmp_path))


def test_the_preflight_is_silent_about_a_live_straight_through(tmp_path, generous):
    torch.manual_seed(0)
    fit(tmp_path, Lit(dead=False), generous(every_n_epochs=100), epochs=1)
    node = read(tmp_path)
    assert asserted(node) == set()
    assert {"straight-through-gain", "codebook-ownership", "inert-loss"} <= set(node["tested"])


def test_the_preflight_finds_an_encoder_in_no_optimiser(tmp_path, generous):
    torch.manual_seed(0)
    fit(tmp_path, Lit(own="decoder"), generous(every_n_epochs=100), epochs=1)
    node = read(tmp_path)
    (found,) = [f for f in node["findings"] if f["id"] == "frozen-module"]
    assert found["confidence"] >= 0.5
    assert "encoder is in no optimiser" in found["summary"]


def test_a_module_declared_frozen_is_none(tmp_path, generous):
    torch.manual_seed(0)
    doctor = generous(every_n_epochs=100, frozen=("encoder",))
    fit(tmp_path, Lit(own="decoder"), doctor, epochs=1)
    assert "frozen-module" not in asserted(read(tmp_path))


def test_a_healthy_model_is_examined_and_left_in_peace(tmp_path, generous, spoken):
    torch.manual_seed(0)
    fit(tmp_path, Lit(period=500), generous(every_n_epochs=20), epochs=80)
    node = read(tmp_path)
    assert asserted(node) == set()
    assert node["healthy"] is True
    assert "range-mismatch" in node["tested"]


@pytest.mark.parametrize("kind", [Lit, Adversarial])
def test_weights_are_the_same_bit_for_bit_with_and_without(tmp_path, generous, kind):
    states = []
    for callbacks in ((), (generous(),)):
        lightning.seed_everything(3, verbose=False)
        module = kind()
        trainer = fit(tmp_path, module, *callbacks)
        rates = [g["lr"] for o in trainer.optimizers for g in o.param_groups]
        moments = [
            t for o in trainer.optimizers for s in o.state.values() for t in s.values()
            if isinstance(t, torch.Tensor)
        ]  # fmt: skip
        states.append((module.state_dict(), moments, rates, torch.rand(1), trainer.global_step))
    assert callbacks[0].diagnosis is not None
    for name, value in states[0][0].items():
        assert torch.equal(value, states[1][0][name]), name
    assert all(torch.equal(a, b) for a, b in zip(states[0][1], states[1][1], strict=True))
    assert states[0][2] == states[1][2]
    assert torch.equal(states[0][3], states[1][3])
    assert states[0][4] == states[1][4]


def test_steps_of_an_examination_reach_no_logger_and_no_callback(tmp_path, generous):
    class Count(lightning.Callback):
        steps = backwards = 0

        def on_train_batch_end(self, *_):
            self.steps += 1

        def on_before_backward(self, *_):
            self.backwards += 1

    count = Count()
    fit(tmp_path, Adversarial(), count, generous())
    assert count.steps == 3 * 6
    assert count.backwards == 2 * count.steps


def test_a_run_in_bfloat16_is_examined(tmp_path, generous):
    torch.manual_seed(0)
    doctor = generous()
    fit(tmp_path, Lit(), doctor, precision="bf16-mixed")
    assert "range-mismatch" in read(tmp_path)["tested"]
    assert not any("no more examinations" in n for n in read(tmp_path)["notes"])


def test_without_validation_the_training_batches_are_used(tmp_path, generous):
    torch.manual_seed(0)
    fit(tmp_path, Lit(), generous(), validate=False)
    assert "range-mismatch" in read(tmp_path)["tested"]


def test_what_a_young_model_shows_is_not_held_against_it(tmp_path, generous, spoken):
    torch.manual_seed(0)
    fit(tmp_path, Lit(), generous(), epochs=2)
    assert asserted(read(tmp_path)) == set()


def test_a_fault_that_shows_with_time_is_said_once_seen_twice(tmp_path, generous, spoken):
    torch.manual_seed(0)
    fit(tmp_path, Lit(period=500, gain=3.0), generous(every_n_epochs=20), epochs=80)
    assert "range-mismatch" in asserted(read(tmp_path))
    assert spoken("range-mismatch") == 1


def test_a_schedule_that_has_come_to_rest_is_no_frozen_module(tmp_path, generous):
    torch.manual_seed(0)
    fit(tmp_path, Lit(period=1), generous(every_n_epochs=20), epochs=40)
    node = read(tmp_path)
    assert "frozen-module" in node["tested"]
    assert "frozen-module" not in asserted(node)


def test_a_resumed_run_does_not_repeat_itself_nor_fly_again(tmp_path, generous, spoken):
    torch.manual_seed(0)
    trainer = fit(tmp_path, Lit(head=nn.Sigmoid()), generous(), epochs=1)
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    doctor = generous()
    again = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[doctor],
    )
    x = blobs()
    loader = DataLoader(TensorDataset(x, torch.arange(len(x))), 16)
    again.fit(Lit(head=nn.Sigmoid()), loader, ckpt_path=path, weights_only=False)
    assert spoken("range-mismatch") == 1
    assert not any("pre-flight" in note for note in read(tmp_path)["notes"])
    assert doctor.account.spent > 0


def test_the_allowance_is_kept_and_what_did_not_fit_is_said(tmp_path):
    torch.manual_seed(0)
    doctor = pellucid.Doctor(overhead=1e-6, preflight=False)
    fit(tmp_path, Lit(), doctor)
    notes = read(tmp_path)["notes"]
    assert sum("not examined" in note for note in notes) == 3
    assert read(tmp_path)["tested"] == []


def test_the_account_charges_examinations_and_leaves_the_preflight_aside():
    time = [0.0]
    account = Account(0.1, ceiling=5, now=lambda: time[0])
    account.start()
    time[0] = 10
    with account.aside():
        time[0] = 17
    assert account.trained == 10
    assert account.allowance == pytest.approx(1.0)
    with account.charged(examination=True):
        time[0] = 18.5
    assert account.trained == 10
    assert account.allowance == 0
    assert account.dearest == 1.5
    time[0] += 1000
    assert account.allowance == 5


def test_a_module_without_encode_and_decode_is_trained_all_the_same(tmp_path, generous):
    class Other(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def training_step(self, batch, batch_idx):
            return (self.layer(batch[0].flatten(1)) - batch[0].flatten(1)).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    fit(tmp_path, Other(), generous(), validate=False)
    assert any("no encode and decode" in note for note in read(tmp_path)["notes"])


def test_the_users_own_description_is_used(tmp_path, generous):
    torch.manual_seed(0)
    asked = []

    def describe(module):
        asked.append(module)
        return pellucid.Subject(
            module.model.encode, module.model.decode, modules={"decoder": module.model.decoder}
        )

    module = Lit(head=nn.Sigmoid())
    fit(tmp_path, module, generous(subject=describe), epochs=1)
    assert asked[:1] == [module]
    assert "range-mismatch" in asserted(read(tmp_path))


@pytest.mark.parametrize("wrong", [{"every_n_epochs": 0}, {"overhead": -1}, {"subject": 3}])
def test_arguments_that_cannot_be_are_refused(wrong):
    with pytest.raises(PellucidError, match="Doctor"):
        pellucid.Doctor(**wrong)


def test_a_row_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(PellucidError, match="range-mismatch"):
        examine_rows(Net(), blobs(), rows=["range-missmatch"])


def test_a_loss_is_split_into_the_terms_that_were_logged():
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    recon, kl = a.square(), b * 2
    loss = recon + 0.1 * kl + 0.5 * a
    terms = split_loss(loss, {"recon": recon, "kl": kl, "both": recon + kl, "psnr": 31.0})
    assert {n: round(float(v), 4) for n, v in terms.items()} == {
        "recon": 4.0,
        "kl": 0.6,
        "rest": 1.0,
    }
    assert math.isclose(sum(float(v) for v in terms.values()), float(loss), rel_tol=1e-6)


def test_companions_of_kept_samples_are_their_own():
    kept = Kept(64)
    x = blobs(32)
    for start in (0, 16):
        kept.add({"image": x[start : start + 16], "label": torch.arange(start, start + 16)})
    order = torch.tensor([30, 2, 17])
    batch = kept.around(x[order])
    assert torch.equal(batch["label"], order)
    assert torch.equal(batch["image"], x[order])


def test_no_sample_is_kept_twice(tmp_path, generous):
    doctor = generous()
    fit(tmp_path, Lit(), doctor)
    for kept in (doctor._train, doctor._held):
        assert len(kept.x()) == len(kept.x().unique(dim=0)) == 96


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (torch.sigmoid, ("sigmoid", 0, 1)),
        (lambda h: torch.tanh(h).view(-1, 1, 2, 2), ("tanh", -1, 1)),
        (lambda h: h.clamp(-2, 3), ("clamp", -2, 3)),
        (lambda h: h * 2, None),
        (lambda h: 2 * torch.sigmoid(h) - 1, None),
    ],
)
def test_the_bounds_of_a_head_are_read_off_the_graph(head, expected):
    h = torch.zeros(3, 4, requires_grad=True)
    assert head_bounds(head(h)) == expected
