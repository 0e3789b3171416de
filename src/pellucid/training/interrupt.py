"""Ctrl-C and SIGTERM: finish the step, save, and say how to go on; a second one stops at once."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

from lightning import Callback, Trainer

from pellucid.training.agreement import StepAgreement

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupting(Callback):
    """Ask for a stop after the step at hand when the process is told to end.

    The handlers are installed when training starts, because Lightning installs its own before
    that: its SIGTERM handler starts a collective inside the handler and saves nothing.

    Args:
        agreement: takes the request to all processes.
        speaks: whether this process tells the user.
    """

    def __init__(self, agreement: StepAgreement, *, speaks: bool) -> None:
        self.agreement = agreement
        self.speaks = speaks
        self._before: dict[signal.Signals, Any] = {n: signal.getsignal(n) for n in _SIGNALS}
        self._installed = False

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take over the two signals; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._handle)
            self._installed = True

    def restore(self) -> None:
        """Give the signals back to whoever had them when this was built."""
        if self._installed:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.agreement.stop_requested:
            raise KeyboardInterrupt
        self.agreement.stop_requested = True
        if self.speaks:
            name = signal.Signals(number).name
            print(
                f"\n{name}: saving after this step … (again stops at once)",
                file=sys.stderr,
                flush=True,
            )
