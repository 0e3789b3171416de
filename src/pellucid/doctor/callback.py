"""Doctor: a Lightning callback that examines a model while it trains, and leaves no trace in it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from torch import nn

from pellucid.diagnosis import Diagnosis, Finding, Subject
from pellucid.diagnosis.catalogue import ROWS
from pellucid.diagnosis.diagnose import examine_rows
from pellucid.diagnosis.ranking import fold
from pellucid.diagnosis.reachable import reachable
from pellucid.diagnosis.snapshot import Snapshot
from pellucid.doctor.account import Account
from pellucid.doctor.attach import attach
from pellucid.doctor.batches import Kept
from pellucid.doctor.preflight import ROWS as UNTRAINED
from pellucid.doctor.preflight import preflight
from pellucid.doctor.quiet import quiet
from pellucid.errors import PellucidError

FILE = "diagnosis.json"
LEAST_SECONDS = 0.2
"""No examination is begun with less: it would only measure its own start."""

YOUNG_STEPS = 200
"""A model of fewer steps may answer with the mean; only what training cannot change is said."""

_CHEAP = 2
_LASTING = "range-mismatch"
"""The pre-flight reads the head off the graph: a fact that no later measurement takes back."""


class Doctor(Callback):
    """Examine the model every n epochs within a share of the training time.

    A finding is printed once, logged as `doctor/<row>` (its confidence) and kept in
    `diagnosis.json` beside the logs. Weights, optimisers, random states and loaders stay as they
    are: training with the doctor gives the same weights, bit for bit, as without.

    Args:
        every_n_epochs: how often to examine.
        subject: LightningModule -> Subject, for models whose encode and decode cannot be found, or
            to hand over more (loss terms, codebook, weights). Steps, optimisers and the loss are
            filled in from the module where it leaves them out.
        overhead: share of the training time that examinations may take; one that no longer fits is
            left out, and diagnosis.json says so.
        budget_seconds: the longest single examination.
        preflight: examine heads, gradients of every term, one-batch overfitting, codebook owners
            and straight-through before the first step.
        preflight_seconds: its own budget, apart from `overhead`.
        frozen: names of modules that are meant not to learn.
        samples: how many to keep of training and of validation; only the first batches are used.

    Raises:
        PellucidError: when an argument cannot be what it should be.
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        *,
        subject: Callable[[Any], Subject] | None = None,
        overhead: float = 0.03,
        budget_seconds: float = 20.0,
        preflight: bool = True,
        preflight_seconds: float = 10.0,
        frozen: Sequence[str] = (),
        samples: int = 256,
    ) -> None:
        super().__init__()
        for name, value in (
            ("every_n_epochs", every_n_epochs),
            ("overhead", overhead),
            ("budget_seconds", budget_seconds),
            ("preflight_seconds", preflight_seconds),
            ("samples", samples),
        ):
            if not value > 0:
                raise PellucidError("must be positive", where=f"Doctor({name}=...)", found=value)
        if subject is not None and not callable(subject):
            raise PellucidError(
                "must be a function from the LightningModule to a Subject",
                where="Doctor(subject=...)",
                found=type(subject).__name__,
            )
        self.every_n_epochs = every_n_epochs
        self.describe, self.frozen = subject, tuple(frozen)
        self.account = Account(overhead, budget_seconds)
        self.preflight, self.preflight_seconds = preflight, preflight_seconds
        self.diagnosis: Diagnosis | None = None
        self._train, self._held = Kept(samples), Kept(samples)
        self._findings: dict[str, Finding] = {}
        self._tested: dict[str, None] = {}
        self._notes: list[str] = []
        self._seen: set[str] = set()
        self._said: set[str] = set()
        self._off: str | None = None
        self._folder: Path | None = None

    # --- hooks ------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        # On every rank: asking for the folder is a collective operation.
        self._folder = Path(trainer.log_dir or trainer.default_root_dir)
        self._off = self._off or _unsupported(trainer)
        if self._off is not None:
            rank_zero_warn(f"doctor: {self._off}")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.account.start()

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # The sanity check shows batches that come again.
        if dataloader_idx == 0 and not self._held.full and not trainer.sanity_checking:
            self._keep(trainer, self._held, batch)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._held.close()

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._train.full:
            self._keep(trainer, self._train, batch)
        first = trainer.global_step == 0 and trainer.current_epoch == 0 and batch_idx == 0
        if self.preflight and first and trainer.is_global_zero and self._off is None:
            self._fly(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._train.close()
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and trainer.is_global_zero and self._off is None:
            self._examine(trainer, pl_module)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self._write(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {
            "spent": self.account.spent,
            "trained": self.account.trained,
            "dearest": self.account.dearest,
            "seen": sorted(self._seen),
            "said": sorted(self._said),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.account.spent = state_dict["spent"]
        self.account.trained_before = state_dict["trained"]
        self.account.dearest = state_dict["dearest"]
        self._seen, self._said = set(state_dict["seen"]), set(state_dict["said"])

    # --- examinations -----------------------------------------------------------------------------

    def _keep(self, trainer: Any, kept: Kept, batch: Any) -> None:
        if trainer.is_global_zero and self._off is None:
            with self.account.charged(), self._surviving():
                kept.add(batch)

    def _fly(self, trainer: Any, module: nn.Module) -> None:
        """Run the pre-flight on the first batch, before anything has been learned."""
        with self.account.aside(), self._surviving():
            with self._attached(trainer, module) as subject:
                x = self._train.x()
                diagnosis = preflight(subject, x, self.preflight_seconds)
            self._notes += [n for n in diagnosis.notes if n.startswith("pre-flight")]
            self._notes.append(
                f"pre-flight: {diagnosis.seconds:.1f} s, apart from the overhead of examinations"
            )
            self._take(trainer, diagnosis, at_once=True)

    def _examine(self, trainer: Any, module: nn.Module) -> None:
        """Examine within the allowance, or say that it did not fit."""
        allowance, needed = self.account.allowance, max(LEAST_SECONDS, 1.1 * self.account.dearest)
        if allowance < needed or not self._train.count:
            self._notes.append(
                f"epoch {trainer.current_epoch}: not examined, {allowance:.2f} s are allowed by "
                f"overhead={self.account.overhead:g} and {needed:.2f} s were needed"
            )
            return
        with self.account.charged(examination=True), self._surviving():
            rows = [row.id for row in ROWS if row.cost <= _CHEAP]
            with self._attached(trainer, module) as subject:
                diagnosis = examine_rows(
                    subject,
                    self._train.x(),
                    self._held.x() if self._held.count >= 4 else None,
                    rows=rows,
                    budget_seconds=0.7 * allowance,
                )
            self._take(trainer, diagnosis, at_once=False)

    @contextlib.contextmanager
    def _attached(self, trainer: Any, module: nn.Module) -> Iterator[Subject]:
        """Describe the module for an examination after which everything is as it was."""
        logged: dict[str, Any] = {}
        with (
            quiet(trainer, module, logged.__setitem__),
            Snapshot(reachable([module, trainer.optimizers])),
            torch.enable_grad(),
        ):
            yield attach(
                trainer, module, self._train, logged, describe=self.describe, frozen=self.frozen
            )

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        """A doctor who fails says so and stays away; the training goes on."""
        try:
            yield
        except Exception as error:  # foreign code may raise anything
            reason = str(error) if isinstance(error, PellucidError) else repr(error)
            self._off = f"no more examinations: {reason}"
            self._notes.append(self._off)
            rank_zero_warn(f"doctor: {self._off}")

    # --- telling ----------------------------------------------------------------------------------

    def _take(self, trainer: Any, diagnosis: Diagnosis, *, at_once: bool) -> None:
        """Merge what was found with what is known; print news, log, write."""
        tested = {*diagnosis.tested, *({"nan-or-overflow"} if diagnosis.tested else ())}
        gone = tested - {f.id for f in diagnosis.findings} - {_LASTING}
        for name in gone:
            self._findings.pop(name, None)
        news = []
        for found in diagnosis.findings:
            finding = found if at_once else self._matured(found, trainer.global_step)
            known = self._findings.get(_LASTING)
            if finding.id == _LASTING and known and known.confidence >= finding.confidence:
                continue
            self._findings[finding.id] = finding
            if finding.asserted and finding.id not in self._said:
                self._said.add(finding.id)
                news.append(finding)
        self._seen = {f.id for f in diagnosis.findings if f.asserted}
        self._tested.update(dict.fromkeys(diagnosis.tested))
        self.diagnosis = dataclasses.replace(
            diagnosis,
            findings=fold(self._findings.values()),
            tested=tuple(self._tested),
        )
        for finding in news:
            rank_zero_info(_announcement(finding, trainer.current_epoch))
        numbers = {f"doctor/{f.id}": f.confidence for f in self._findings.values()}
        numbers |= {f"doctor/{name}": 0.0 for name in gone & self._said}
        for logger in trainer.loggers if numbers else ():
            logger.log_metrics(numbers, step=trainer.global_step)
        self._write(trainer)

    def _matured(self, finding: Finding, steps: int) -> Finding:
        """Hold back what a young model may show until it is seen twice in a row, later."""
        if not finding.asserted or finding.id in UNTRAINED:
            return finding
        if finding.id in self._seen and steps >= YOUNG_STEPS:
            return finding
        return dataclasses.replace(
            finding,
            confidence=0.49,
            summary=f"{finding.summary} (to be seen again before it is asserted)",
        )

    def _write(self, trainer: Any) -> None:
        """Write diagnosis.json beside the logs."""
        if self._folder is None:
            return
        diagnosis = self.diagnosis or Diagnosis((), (), (), (), (), (), "SNR", 0, 0.0)
        spent = (
            f"examinations took {self.account.spent:.2f} s of {self.account.trained:.1f} s trained "
            f"({self.account.share:.1%}; allowed {self.account.overhead:.1%})"
        )
        written = dataclasses.replace(diagnosis, notes=(*diagnosis.notes, *self._notes, spent))
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / FILE).write_text(written.to_json(), encoding="utf-8")


def _announcement(finding: Finding, epoch: int) -> str:
    lines = [
        f"doctor, epoch {epoch}: {finding.id} (confidence {finding.confidence:.2f})",
        f"  {finding.summary}",
        f"  do: {finding.treatment}",
    ]
    return "\n".join(lines)


def _unsupported(trainer: Any) -> str | None:
    """Say why a strategy cannot be examined: where one process does not hold the whole model."""
    from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

    if isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        return None
    return f"{type(trainer.strategy).__name__} spreads the model: no process can examine it alone"
