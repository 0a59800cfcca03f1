"""How a job is asked to stop: at once by Ctrl-C, after the chunk at work by SIGTERM and SIGUSR1."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gen2reco.errors import InfrastructureError


class Interrupted(InfrastructureError):
    """Asked to stop (SIGTERM, SIGUSR1): finished chunks are kept, a restart goes on from them."""


@contextmanager
def stop_requested() -> Iterator[list[str]]:
    """A list that receives the signal's name when the job is asked to stop."""
    asked: list[str] = []
    wanted, here = (signal.SIGTERM, signal.SIGUSR1), os.getpid()

    def ask(number: int, frame: FrameType | None) -> None:
        if os.getpid() == here:  # not a forked child, which finishes its chunk
            asked.append(signal.Signals(number).name)
            os.write(2, f"{asked[-1]}: stops after the chunk at work\n".encode())

    try:
        old = {number: signal.signal(number, ask) for number in wanted}
    except ValueError:  # not the main thread
        old = {}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_noted() -> Iterator[list[int]]:
    """A list that Ctrl-C is noted in, as it may come between the start of a child and the record of it."""
    noted: list[int] = []
    try:
        old = signal.getsignal(signal.SIGINT)
        if old is signal.default_int_handler:
            signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    except ValueError:  # not the main thread, which gets it
        old = None
    try:
        yield noted
    finally:
        if old is signal.default_int_handler:
            signal.signal(signal.SIGINT, old)
