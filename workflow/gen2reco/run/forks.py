"""Run chunks in forked child processes, several at once: each starts with fresh engine state."""

import ctypes
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gen2reco import errors
from gen2reco.run.stage import Chunk
from gen2reco.run.stopping import interrupts_noted

_PR_SET_PDEATHSIG = 1
_CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP}


def run_forked(
    make: Callable[[Chunk], None],
    chunks: list[Chunk],
    workers: int,
    stopping: list,
    done: Callable[[Chunk], None],
) -> dict[str, Any]:
    """Run `make(chunk)` for each chunk in a fork of this process, `workers` at a time.

    Returns CPU seconds of the children and the largest peak memory of one. Re-raises the first error of a child; one
    that dies of a signal is an InfrastructureError that names it. New chunks stop being started once `stopping` is not
    empty.
    """
    todo, oom_kills = list(reversed(chunks)), _oom_kills()
    running: dict[int, tuple[int, Chunk]] = {}
    usage = {"cpu_seconds": 0.0, "peak_memory_mb": 0}
    try:
        with interrupts_noted() as interrupts:
            while running or (todo and not stopping):
                while todo and len(running) < max(workers, 1) and not stopping:
                    chunk = todo.pop()
                    pid, pipe = _start(make, chunk)
                    running[pipe] = (pid, chunk)
                for pipe in select.select(list(running), [], [], 0.5)[0]:
                    pid, chunk = running.pop(pipe)
                    _finish(pid, pipe, chunk, usage, oom_kills)
                    done(chunk)
                if interrupts:
                    raise KeyboardInterrupt
    finally:
        for pipe, (pid, _) in running.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(pipe)
    return usage


def _start(make: Callable[[Chunk], None], chunk: Chunk) -> tuple[int, int]:
    sys.stdout.flush()
    sys.stderr.flush()
    parent, (reader, writer) = os.getpid(), os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    message = _message(errors.InfrastructureError(f"chunk {chunk.index} could not be made; run it again"))
    try:
        os.close(reader)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which gets Ctrl-C as well, ends its children
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        make(chunk)
        message = b"ok"
    except BaseException as error:
        known = errors.classified(error)
        if known is None:
            traceback.print_exc()
            known = errors.Gen2recoError(f"chunk {chunk.index}: {type(error).__name__}: {error}")
        message = _message(known)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(writer, message)
        os._exit(0)


def _message(error: errors.Gen2recoError) -> bytes:
    return json.dumps([type(error).__name__, str(error)]).encode()


def _finish(pid: int, pipe: int, chunk: Chunk, usage: dict[str, Any], oom_kills: int) -> None:
    message = b""
    while part := os.read(pipe, 65536):
        message += part
    os.close(pipe)
    _, status, resources = os.wait4(pid, 0)
    usage["cpu_seconds"] += resources.ru_utime + resources.ru_stime
    usage["peak_memory_mb"] = max(usage["peak_memory_mb"], resources.ru_maxrss // 1024)
    if not message:
        raise errors.InfrastructureError(_death(status, chunk, oom_kills))
    if message != b"ok":
        kind, text = json.loads(message)
        raise getattr(errors, kind, errors.Gen2recoError)(text)


def _death(status: int, chunk: Chunk, oom_kills: int) -> str:
    """How a child ended that sent no message; `oom_kills`: the kernel's count when the children were started."""
    who = f"the process of chunk {chunk.index} (events {chunk.start} to {chunk.stop - 1})"
    if not os.WIFSIGNALED(status):
        return f"{who} ended without a word, exit code {os.WEXITSTATUS(status)}; see the lines above"
    number = os.WTERMSIG(status)
    name = signal.Signals(number).name if number < signal.SIGRTMIN else f"signal {number}"
    died = f"{who} died of {name} ({signal.strsignal(number)})"
    if number in _CRASHES:
        return f"{died}: its engine crashed; run it again, and report it if it does so again"
    if number == signal.SIGKILL and _oom_kills() > oom_kills:
        return f"{died}: out of memory, says the kernel; ask for more memory or fewer workers"
    return f"{died}, sent by a person or the batch system; run it again"


def _oom_kills() -> int:
    """Number of processes that the kernel has killed for memory since it booted; 0 where it gives no number."""
    try:
        with Path("/proc/vmstat").open(encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
