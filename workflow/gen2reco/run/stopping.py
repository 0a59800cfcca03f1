"""Signals that stop a job: Ctrl-C at once, SIGTERM and SIGUSR1 after the current chunk."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gen2reco.errors import InfrastructureError


class Interrupted(InfrastructureError):
    """A job was stopped by SIGTERM or SIGUSR1; it resumes from its finished chunks when started again."""


@contextmanager
def stop_requested() -> Iterator[list[str]]:
    """Yield a list that receives the name of SIGTERM or SIGUSR1 when one arrives."""
    received: list[str] = []
    wanted, here = (signal.SIGTERM, signal.SIGUSR1), os.getpid()

    def receive(number: int, frame: FrameType | None) -> None:
        if os.getpid() == here:  # not a forked child, which finishes its chunk
            received.append(signal.Signals(number).name)
            os.write(2, f"{received[-1]}: stops after the chunk at work\n".encode())

    try:
        old = {number: signal.signal(number, receive) for number in wanted}
    except ValueError:  # not the main thread
        old = {}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_noted() -> Iterator[list[int]]:
    """Yield a list that notes Ctrl-C, which could otherwise come between the start of a child and the note of its
    id."""
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
