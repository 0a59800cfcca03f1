"""Files that appear whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gen2reco.errors import InfrastructureError


@contextmanager
def whole(path: Path, what: str = "") -> Iterator[Path]:
    """A temporary name beside `path`, unique to this attempt, which takes its place when the block ends well; else
    nothing is left. Raises InfrastructureError when the folder or disk refuses; `what` begins what it says."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InfrastructureError(f"{path}: {what}cannot be written: {reason}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
