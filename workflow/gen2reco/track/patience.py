"""Wait for something no longer than so many seconds."""

import threading
from collections.abc import Callable

from gen2reco.errors import InfrastructureError


class TookTooLong(InfrastructureError):
    """The work was left behind in its thread."""


def within(seconds: float, work: Callable[[], str]) -> str:
    """What `work` returns or raises; in a thread of its own, which is left behind when the time is over: a server may
    send a byte a minute, and a database driver waits where no signal is heard. Raises TookTooLong then."""
    done: list[str] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TookTooLong(f"tracking took longer than {seconds:g} s and was left; what is there already stays single")
    return done[0]
