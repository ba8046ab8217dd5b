"""Files that appear whole or not at all, and what is left of those whose writer was killed.

    with replacing(path) as stream: ...

While it is written a file is `.slim-<16 hex digits>.tmp` in the folder that it will stand in, locked by its writer. An exception
removes it, and so does an end by SIGTERM or SIGHUP, which the command makes an exception. SIGKILL leaves it: the next one who
writes to that folder sees that nobody holds its lock, and removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

TEMPORARY = re.compile(r"\.slim-[0-9a-f]{16}\.tmp")
ENDS = signal.SIGTERM, signal.SIGHUP
YOUNG = 60.0                            # seconds in which a file may be there whose writer has not locked it yet
_swept: set[Path] = set()


class Ended(BaseException):
    """SIGTERM or SIGHUP: everybody cleans up, then the process ends by that signal. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end(number: int, _frame: object) -> None:
    """The handler of these signals."""
    raise Ended(number)


def end_cleanly() -> None:
    """Have SIGTERM and SIGHUP raise Ended, unless they are ignored (nohup) or somebody else takes them."""
    for number in ENDS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def ends() -> set[int]:
    """The signals that raise Ended."""
    return {number for number in ENDS if signal.getsignal(number) is end}


def check_directory(path: Path) -> None:
    """Raise FileNotFoundError if there is no directory to write a file to: before long work, or a temporary file there."""
    if not Path(os.path.realpath(path)).parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the directory to write it to does not exist", str(path))


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes become the file `path` when the block ends without an exception, and vanish otherwise."""
    target = Path(os.path.realpath(path))                  # a link stays a link
    if target.exists() and not target.is_file():           # /dev/null, a pipe: nothing to replace; a directory: OSError
        try:
            with open(target, "wb") as stream:
                yield stream
        except OSError as error:
            error.filename = error.filename or str(path)
            raise
        return
    check_directory(path)
    if target.parent not in _swept:
        _swept.add(target.parent)
        sweep(target.parent)
    temporary = target.with_name(f".slim-{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as stream:
            with suppress(OSError):                        # a file system without locks: sweep() leaves its files alone
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield stream
        os.replace(temporary, target)
    except BaseException as error:                         # also an interrupt: nobody else would remove the file
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and str(error.filename or temporary) == str(temporary):
            error.filename = str(path)                     # a full disk names no file, a read-only folder the temporary one
        raise


def sweep(folder: Path) -> None:
    """Remove this user's temporary files from a folder whose writers are gone. What cannot be looked at or removed stays."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_abandoned(entry)


def _remove_abandoned(entry: os.DirEntry[str]) -> None:
    state = entry.stat(follow_symlinks=False)
    if not entry.is_file(follow_symlinks=False) or state.st_uid != os.geteuid() or time.time() - state.st_mtime < YOUNG:
        return
    with open(entry.path, "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)          # raises OSError while the writer lives
        os.unlink(entry.path)
