"""Faults of training, objective and adversary: the planted one comes first, its twin is silent.

Shape letters: B batch, C channels, T time.
"""

import dataclasses

import diagnosis_zoo as zoo
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pellucid.diagnosis import diagnose
from pellucid.diagnosis.probes.history import slope_of
from pellucid.diagnosis.probes.loss_networks import drawn_by_initialiser

SLOW = pytest.mark.slow
ROWS = {
    "learning-rate",
    "loss-imbalance",
    "reduction-mismatch",
    "perceptual-misfed",
    "spectral-nan",
    "discriminator-dominates",
    "gan-gradient-leak",
    "commitment-drift",
}


def examined(subject, data, **more):
    return diagnose(subject, data.train, data.held, budget_seconds=20, **more)


def ids(diagnosis):
    return [f.id for f in diagnosis.findings if f.asserted]


def silent(diagnosis, row):
    """The row was examined, and none of this file's rows is asserted."""
    assert row in diagnosis.tested, [n for n in diagnosis.not_tested if n.id == row]
    assert not ROWS & set(ids(diagnosis)), str(diagnosis)


# --- learning-rate -----------------------------------------------------------------------------


@pytest.mark.parametrize(("lr", "better"), [(5e-6, "low"), (5e-2, "high")])
def test_a_rate_that_another_beats_is_found_and_a_better_one_suggested(lr, better):
    model = zoo.train(zoo.digits(), "ae", 12, conv=False, steps=200, horizon=10**6, lr=lr)
    diagnosis = examined(model.white(), model.data)
    assert ids(diagnosis)[:1] == ["learning-rate"], str(diagnosis)
    suggested = diagnosis.findings[0].suggests["learning_rate"]
    assert suggested > 5 * lr if better == "low" else suggested < lr / 5


@pytest.mark.parametrize("lr", [pytest.param(3e-4, marks=SLOW), 2e-3])
def test_a_young_model_with_a_sane_rate_is_under_trained(lr):
    model = zoo.train(zoo.digits(), "ae", 12, conv=False, steps=40, horizon=10**6, lr=lr)
    diagnosis = examined(model.white(), model.data)
    assert ids(diagnosis) == ["under-training"], str(diagnosis)
    silent(diagnosis, "learning-rate")


def test_the_end_of_a_schedule_is_no_low_rate(trained):
    model = trained("ae")
    assert model.optimizer.param_groups[0]["lr"] < 1e-4  # the schedule lowered it
    silent(examined(model.white(), model.data), "learning-rate")


# --- loss-imbalance ----------------------------------------------------------------------------


def smoothing(weight):
    """A loss with a total-variation helper of this weight."""

    def loss(net, x):
        x_hat = net.decode(net.encoder(x))
        smooth = x_hat.diff(dim=-1).abs().mean() + x_hat.diff(dim=-2).abs().mean()
        return {"recon": (x_hat - x).square().mean(), "smooth": weight * smooth}

    return loss


@pytest.mark.parametrize(("weight", "sick"), [(0.3, True), (1e-4, False)])
def test_a_helper_that_drives_the_output_is_found_and_a_small_one_is_not(weight, sick):
    model = zoo.train(zoo.digits(), "ae", 12, conv=False, steps=200, loss=smoothing(weight))
    diagnosis = examined(model.white(), model.data)
    if sick:
        assert ids(diagnosis)[:1] == ["loss-imbalance"], str(diagnosis)
        assert diagnosis.findings[0].suggests["term"] == "smooth"
    else:
        silent(diagnosis, "loss-imbalance")


# --- reduction-mismatch ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recon", "kl", "sick"),
    [
        ("mean", "sum", True),
        pytest.param("sum", "mean", True, marks=SLOW),
        ("mean", "mean", False),
        pytest.param("sum", "sum", False, marks=SLOW),
    ],
)
def test_terms_reduced_differently_over_the_batch_are_found(trained, recon, kl, sick):
    model = trained("vae")

    def loss_terms(x):
        terms = model.loss(x)
        factor = {"mean": 1.0, "sum": float(len(x))}
        return {"recon": factor[recon] * terms["recon"], "kl": factor[kl] * terms["kl"]}

    diagnosis = examined(model.white(loss_terms=loss_terms, kl_weight=None), model.data)
    if sick:
        assert ids(diagnosis)[:1] == ["reduction-mismatch"], str(diagnosis)
        assert diagnosis.findings[0].suggests["term"] == ("kl" if kl == "sum" else "recon")
    else:
        assert "reduction-mismatch" in diagnosis.tested
        assert "reduction-mismatch" not in ids(diagnosis), str(diagnosis)


# --- spectral-nan ------------------------------------------------------------------------------


def magnitudes(x_B1T, how):
    """(B, F, N) magnitudes: with an epsilon inside the root, without, or in an unguarded log."""
    window = torch.hann_window(32)
    s = torch.stft(x_B1T[:, 0], 32, 16, window=window, return_complex=True)
    power = s.real.square() + s.imag.square()
    if how == "guarded":
        return (power + 1e-9).sqrt()
    return power.sqrt() if how == "root" else (power + 1e-9).sqrt().sub((1e-9) ** 0.5).log()


@pytest.mark.parametrize("how", ["root", pytest.param("log", marks=SLOW), "guarded"])
def test_a_spectral_term_that_breaks_on_silence_is_found(trained, how):
    model = trained("audio")
    net = model.net

    def loss_terms(x):
        x_hat = net.decode(net.encoder(x))
        spectral = (magnitudes(x_hat, how) - magnitudes(x, how)).abs().mean()
        return {"recon": (x_hat - x).square().mean(), "stft": 1e-3 * spectral}

    diagnosis = examined(model.white(loss_terms=loss_terms), model.data)
    if how == "guarded":
        silent(diagnosis, "spectral-nan")
    else:
        assert ids(diagnosis)[:1] == ["spectral-nan"], str(diagnosis)
        assert diagnosis.findings[0].suggests["term"] == "stft"


def test_a_root_of_the_error_breaks_at_no_error_only_and_is_no_fault(trained):
    model = trained("ae")
    net = model.net

    def loss_terms(x):
        return {"rmse": (net.decode(net.encoder(x)) - x).square().mean().sqrt()}

    diagnosis = examined(model.white(loss_terms=loss_terms), model.data)
    assert "spectral-nan" in diagnosis.tested
    assert "spectral-nan" not in ids(diagnosis)


# --- perceptual-misfed -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier():
    """A small network really trained on the digits: what a perceptual loss is made of."""
    from sklearn.datasets import load_digits

    source = load_digits()
    x = torch.tensor(source.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(source.target)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1),
        nn.ReLU(), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(200):
        index = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(net(x[index]), y[index]).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("fault", ["random", "bytes", pytest.param("moved", marks=SLOW), None])
def test_a_loss_network_that_is_random_misfed_or_moving_is_found(trained, classifier, fault):
    model = trained("ae")
    net = model.net
    features = classifier[:5]
    if fault == "random":
        features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3))
    scale = 255.0 if fault == "bytes" else 1.0

    def loss_terms(x):
        x_hat = net.decode(net.encoder(x))
        distance = (features(scale * x_hat) - features(scale * x)).square().mean()
        return {"recon": (x_hat - x).square().mean(), "perceptual": 1e-3 / scale**2 * distance}

    more = {}
    if fault == "moved":
        moving = torch.optim.Adam(features.parameters(), lr=1e-4)
        more["optimizers"] = [model.optimizer, moving]
    subject = model.white(loss_terms=loss_terms, loss_networks={"features": features}, **more)
    diagnosis = examined(subject, model.data)
    if fault is None:
        silent(diagnosis, "perceptual-misfed")
    else:
        assert ids(diagnosis)[:1] == ["perceptual-misfed"], str(diagnosis)


@pytest.mark.parametrize(
    "draw", [None, nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.xavier_normal_]
)
def test_weights_as_drawn_are_told_from_trained_ones(classifier, draw):
    layer = nn.Conv2d(8, 32, 3)
    if draw is not None:
        draw(layer.weight)
        nn.init.zeros_(layer.bias)
    assert drawn_by_initialiser(layer)
    assert not drawn_by_initialiser(classifier[6])


# --- the adversary -----------------------------------------------------------------------------


class Gan:
    """An autoencoder with a discriminator, and one training step that can be written wrongly."""

    def __init__(self, trained: zoo.Trained, weight: float = 1e-3, order: str = "right") -> None:
        torch.manual_seed(0)
        self.net, self.data, self.weight, self.order = trained.net, trained.data, weight, order
        self.discriminator = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(256, 1)
        )
        self.opt_g = torch.optim.Adam(self.net.parameters(), lr=2e-4)
        self.opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4)

    def loss_terms(self, x):
        x_hat = self.net.decode(self.net.encoder(x))
        return {
            "recon": (x_hat - x).square().mean(),
            "adversarial": -self.weight * self.discriminator(x_hat).mean(),
        }

    def step(self, x):
        """Generator first, as most write it."""
        self.opt_g.zero_grad()
        if self.order == "cleared early":
            self.opt_d.zero_grad()
        torch.stack(list(self.loss_terms(x).values())).sum().backward()
        if self.order != "attached":
            self.opt_g.step()
        if self.order in ("right", "attached", "in two parts"):
            self.opt_d.zero_grad()
        x_hat = self.net.decode(self.net.encoder(x))
        if self.order not in ("attached", "attached, cleared"):
            x_hat = x_hat.detach()
        real, fake = F.relu(1 - self.discriminator(x)), F.relu(1 + self.discriminator(x_hat))
        if self.order == "attached, cleared":
            self.opt_d.zero_grad()
        if self.order == "in two parts":
            real.mean().backward()
            fake.mean().backward()
        else:
            (real.mean() + fake.mean()).backward()
        if self.order == "attached":
            self.opt_g.step()
        self.opt_d.step()

    def subject(self, **more):
        arguments = {
            "modules": {"encoder": self.net.encoder, "decoder": self.net.decoder},
            "discriminator": self.discriminator,
            "optimizers": [self.opt_g, self.opt_d],
            "loss_terms": self.loss_terms,
            "training_step": self.step,
        } | more
        return zoo.Subject(self.net.encode, self.net.decode, **arguments)


@pytest.mark.parametrize("order", ["cleared early", "attached"])
def test_a_gradient_that_reaches_the_other_players_step_is_found(trained, order):
    gan = Gan(trained("ae"), weight=0.1, order=order)
    diagnosis = examined(gan.subject(), gan.data)
    assert ids(diagnosis)[:1] == ["gan-gradient-leak"], str(diagnosis)


@pytest.mark.parametrize(
    "order", ["right", "in two parts", pytest.param("attached, cleared", marks=SLOW)]
)
def test_a_gradient_that_is_cleared_in_time_is_no_leak(trained, order):
    gan = Gan(trained("ae"), order=order)
    diagnosis = examined(gan.subject(), gan.data)
    assert "gan-gradient-leak" in diagnosis.tested, diagnosis.not_tested
    assert "gan-gradient-leak" not in ids(diagnosis), str(diagnosis)


@pytest.mark.parametrize(("weight", "sick"), [(3.0, True), (1e-4, False)])
def test_an_adversary_that_outweighs_the_reconstruction_is_found(trained, weight, sick):
    base = trained("ae")
    copy = zoo.Net((1, 8, 8), "ae", 12, conv=False)
    copy.load_state_dict(base.net.state_dict())
    gan = Gan(dataclasses.replace(base, net=copy), weight=weight)
    for index in range(150):
        gan.step(base.data.train[64 * (index % 20) : 64 * (index % 20) + 64])
    diagnosis = examined(gan.subject(), gan.data)
    if sick:
        assert ids(diagnosis)[:1] == ["discriminator-dominates"], str(diagnosis)
    else:
        silent(diagnosis, "discriminator-dominates")


# --- commitment-drift --------------------------------------------------------------------------


def uncommitted(net, x):
    """A loss whose codebook follows the encoder, which nothing holds back."""
    h = net.encoder(x)
    q, codes, _ = net.quantizer(h)
    chosen = net.quantizer.books[0][codes].movedim(-1, 1)
    return {
        "recon": (net.decode(q) - x).square().mean(),
        "codebook": (chosen - h.detach()).square().mean(),
    }


@pytest.mark.parametrize("sick", [True, False])
def test_latents_that_run_away_from_their_codes_are_found(sick):
    loss = uncommitted if sick else None
    model = zoo.train(
        zoo.digits(), "vq", 4, codes=64, width=16, steps=150, horizon=10**6, loss=loss
    )
    diagnosis = examined(model.white(), model.data)
    assert "commitment-drift" in diagnosis.tested
    if sick:
        assert ids(diagnosis)[:1] == ["commitment-drift"], str(diagnosis)
    else:
        assert "commitment-drift" not in ids(diagnosis), str(diagnosis)


# --- under-training from a history -------------------------------------------------------------


def test_the_slope_of_a_history_has_an_honest_interval():
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(90.0)
    noise = (0.05 * torch.randn(90, generator=generator)).exp()
    falling = slope_of("loss", ((-t / 100).exp() * noise).tolist())
    flat = slope_of("loss", noise.tolist())
    assert falling.high < 0
    assert falling.low < torch.tensor(-29 / 100).exp().item() - 1 < falling.high
    assert flat.low < 0 < flat.high


@pytest.mark.parametrize("form", ["columns", pytest.param("rows", marks=SLOW)])
@pytest.mark.parametrize(("decay", "said"), [(30.0, True), (1e9, False)])
def test_a_history_that_still_falls_says_under_training(trained, form, decay, said):
    model = trained("ae")
    losses = [float(torch.tensor(-i / decay).exp()) for i in range(60)]
    history = {"loss": losses} if form == "columns" else [{"loss": v} for v in losses]
    diagnosis = examined(model.black(history=history), model.data)
    assert ids(diagnosis) == (["under-training"] if said else []), str(diagnosis)


def test_losing_to_pca_with_a_large_latent_is_no_assertion():
    model = zoo.train(zoo.digits(), "ae", 56, conv=False, steps=600)
    diagnosis = examined(model.black(), model.data)
    assert ids(diagnosis) == [], str(diagnosis)
    assert diagnosis.findings[0].id == "under-training"  # the hint: PCA is ahead
