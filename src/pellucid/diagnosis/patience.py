"""Iterate over somebody's loader: without waiting for ever, and without its errors."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

_END = object()


@dataclasses.dataclass(frozen=True)
class Failure:
    """The last thing an iteration yields when it did not end by itself.

    Args:
        words: what happened.
    """

    words: str


def patiently(items: Iterable[Any], seconds: float) -> Iterator[Any]:
    """Yield items; a Failure instead, once, when one takes too long or the source raises.

    The source runs in a thread of its own, one item ahead: a call that never returns cannot be
    interrupted, only left behind.

    Args:
        items: the source.
        seconds: the longest wait for one item.
    """
    ready: queue.Queue[Any] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def hand_over(item: Any) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def pull() -> None:
        try:
            for item in items:
                hand_over(item)
                if stopped.is_set():
                    return
            hand_over(_END)
        except Exception as error:  # whatever a user's loader raises is what is reported
            hand_over(Failure(f"{type(error).__name__}: {error}"))

    threading.Thread(target=pull, name="pellucid-reader", daemon=True).start()
    try:
        while True:
            try:
                item = ready.get(timeout=seconds)
            except queue.Empty:
                item = Failure(f"the source stopped yielding: nothing came for {seconds:.3g} s")
            if item is _END:
                return
            yield item
            if isinstance(item, Failure):
                return
    finally:
        stopped.set()
