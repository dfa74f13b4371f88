"""A lock that one process holds on a file. It is released when the process ends, also when it is killed."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..errors import ConfigError

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, taken: str) -> Iterator[TextIO]:
    """Inside this context this process holds the lock. A child process that inherits the file keeps it.

    Args:
        path: the lock's file; it is created if it does not exist.
        taken: the message when another process holds the lock; the name of that process is added to it.

    Raises:
        ConfigError: another process has the lock.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(f"{taken} ({file.read().strip() or 'begun by another process'})") from None
        except OSError as error:  # some network file systems have no locks
            log.warning("%s cannot be locked (%s): see to it that no second process writes there", path, error.strerror)
        file.truncate(0)
        file.write(f"begun by process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield file
