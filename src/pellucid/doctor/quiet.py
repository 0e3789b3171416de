"""Let a LightningModule take steps that nobody else hears of."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch


@contextlib.contextmanager
def quiet(trainer: Any, module: Any, on_log: Callable[[str, Any], None]) -> Iterator[None]:
    """Keep loggers, callbacks, schedulers and gradient scalers out of what happens inside.

    Tensors, optimisers and random states are the business of the snapshot; this is the rest.

    Args:
        trainer: the trainer; its loggers and callbacks are absent inside.
        module: the LightningModule; `log` and `log_dict` go to `on_log` inside.
        on_log: receives every name and value that would have been logged.
    """
    from lightning.pytorch.loggers.logger import DummyLogger

    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    states = [copy.deepcopy(s.state_dict()) for s in schedulers]
    precision = copy.deepcopy(trainer.precision_plugin.state_dict())
    loggers, callbacks = trainer.loggers, trainer.callbacks
    threads = torch.get_num_threads()

    def log(name: str, value: Any, *_: Any, **__: Any) -> None:
        on_log(name, value)

    def log_dict(values: Any, *_: Any, **__: Any) -> None:
        for name, value in values.items():
            on_log(name, value)

    # In the instance's own dictionary they hide the methods; taking them out restores these.
    shadowed = {k: module.__dict__[k] for k in ("log", "log_dict") if k in module.__dict__}
    module.__dict__.update(log=log, log_dict=log_dict)
    trainer.loggers = [DummyLogger() for _ in loggers]
    trainer.callbacks = []
    try:
        yield
    finally:
        for name in ("log", "log_dict"):
            module.__dict__.pop(name, None)
        module.__dict__.update(shadowed)
        trainer.loggers, trainer.callbacks = loggers, callbacks
        for scheduler, state in zip(schedulers, states, strict=True):
            scheduler.load_state_dict(state)
        if precision:
            trainer.precision_plugin.load_state_dict(precision)
        torch.set_num_threads(threads)
