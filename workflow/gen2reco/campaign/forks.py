"""Run chunks in forked children: fresh engine state each, several at once, no shared interpreter lock."""

import ctypes
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from gen2reco import errors
from gen2reco.campaign.stage import Chunk

_PR_SET_PDEATHSIG = 1


def run_forked(
    make: Callable[[Chunk], None],
    chunks: list[Chunk],
    workers: int,
    stopping: list,
    done: Callable[[Chunk], None],
) -> dict[str, Any]:
    """Run `make(chunk)` for each chunk in a fork of this process, `workers` at a time.

    Returns CPU seconds of the children and the largest peak memory of one. Re-raises the first error of a child;
    one that dies of a signal is an InfrastructureError. New chunks stop being started once `stopping` is not empty.
    """
    todo, running = list(reversed(chunks)), {}
    usage = {"cpu_seconds": 0.0, "peak_memory_mb": 0}
    try:
        while running or (todo and not stopping):
            while todo and len(running) < max(workers, 1) and not stopping:
                chunk = todo.pop()
                pid, pipe = _start(make, chunk)
                running[pipe] = (pid, chunk)
            for pipe in select.select(list(running), [], [], 1.0)[0]:
                pid, chunk = running.pop(pipe)
                _finish(pid, pipe, chunk, usage)
                done(chunk)
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
    os.close(reader)
    message = ""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        make(chunk)
    except errors.Gen2recoError as error:
        message = json.dumps([type(error).__name__, str(error)])
    except BaseException as error:
        traceback.print_exc()
        message = json.dumps(["Gen2recoError", f"chunk {chunk.index}: {type(error).__name__}: {error}"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(writer, (message or "ok").encode())
        os._exit(0)


def _finish(pid: int, pipe: int, chunk: Chunk, usage: dict[str, Any]) -> None:
    message = b""
    while part := os.read(pipe, 65536):
        message += part
    os.close(pipe)
    _, status, resources = os.wait4(pid, 0)
    usage["cpu_seconds"] += resources.ru_utime + resources.ru_stime
    usage["peak_memory_mb"] = max(usage["peak_memory_mb"], resources.ru_maxrss // 1024)
    if not message:
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        raise errors.InfrastructureError(
            f"the process of chunk {chunk.index} died ({how}); out of memory? run it again"
        )
    if message != b"ok":
        kind, text = json.loads(message)
        raise getattr(errors, kind, errors.Gen2recoError)(text)
