"""Files that a user names. A file that is written appears whole or not at all. Temporary files of killed processes are removed.
Reading never waits for a pipe that has no writer, and never reads a device without an end.

    with replacing(path) as stream: ...
    with temporary_folder() as folder: ...
    with opened(path) as stream: ...            # a file, to seek in
    data = contents(path)                       # what is read once: `<(command)` will do

While a file is written, its name is `.slim-<16 hex digits>.tmp` in the same folder, and its writer holds a lock on it. A temporary
folder has such a name, too. An exception removes it. SIGTERM and SIGHUP are exceptions in the command, so they remove it as well.
SIGKILL leaves it: the next process that writes to the folder finds it without a lock, and removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO

TEMPORARY = re.compile(r"\.slim-[0-9a-f]{16}\.tmp")
ENDS = signal.SIGTERM, signal.SIGHUP
YOUNG = 60.0                            # seconds in which a file may be there whose writer has not locked it yet
LARGE_PAGE = 2 << 20                    # bytes of one, where processor and system have large pages
LARGEST_TEXT = 1 << 30                  # bytes that come through a pipe: an endless writer is stopped there
_swept: set[Path] = set()


class Ended(BaseException):
    """Raised by SIGTERM and SIGHUP, so that temporary files are removed before the process ends by that signal, `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end(number: int, _frame: object) -> None:
    """The handler of these signals."""
    raise Ended(number)


def end_cleanly() -> None:
    """Make SIGTERM and SIGHUP raise Ended, unless they are ignored (nohup) or have another handler."""
    for number in ENDS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def ends() -> set[int]:
    """The signals that raise Ended."""
    return {number for number in ENDS if signal.getsignal(number) is end}


def opened(path: str | os.PathLike[str], pipes: bool = False) -> BufferedReader:
    """A file, open for reading. Raises OSError, also for a device, a directory and, unless `pipes` allows it, a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)          # a pipe would wait for its writer
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode)):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    what = "a pipe" if stat.S_ISFIFO(mode) else "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "a socket"
    raise OSError(errno.EINVAL, f"{what}; expected a file", str(path))


def text_of(path: str | os.PathLike[str]) -> str:
    """The text of a file in UTF-8, without a byte order mark. Raises OSError like `opened`, UnicodeDecodeError."""
    with opened(path) as stream:
        return stream.read().decode("utf-8-sig")


def contents(path: str | os.PathLike[str]) -> bytes:
    """All of a file, or of a pipe to which somebody writes. Raises OSError like `opened`."""
    with opened(path, pipes=True) as stream:
        descriptor = stream.fileno()
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return stream.read()
        try:
            first = os.read(descriptor, 1 << 16)
            if not first:
                raise OSError(errno.ENODATA, "a pipe to which nobody writes", str(path))
        except BlockingIOError:                             # somebody will
            first = b""
        os.set_blocking(descriptor, True)
        data = first + stream.read(LARGEST_TEXT)
        if len(data) > LARGEST_TEXT:
            raise OSError(errno.EFBIG, f"more than {LARGEST_TEXT >> 30} GiB come through this pipe", str(path))
        return data


def check_directory(path: Path) -> None:
    """Raise FileNotFoundError if there is no directory to write a file to, IsADirectoryError if the file is one: before long work,
    or a temporary file there."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not Path(os.path.realpath(path)).parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the directory to write it to does not exist", str(path))


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes become the file `path` when the block ends without an exception, and vanish otherwise."""
    target = Path(os.path.realpath(path))                  # a link stays a link; of /dev/stdout it may be no name of a file
    if path.exists() and not path.is_file():               # /dev/null, a pipe: nothing to replace; a directory: OSError
        try:
            with open(path, "wb") as stream:
                yield stream
        except OSError as error:
            error.filename = error.filename or str(path)
            raise
        return
    check_directory(path)
    temporary = _temporary_in(target.parent)
    try:
        with open(temporary, "xb") as stream:
            _lock(stream)
            yield stream
        os.replace(temporary, target)
    except BaseException as error:                         # also an interrupt: nobody else would remove the file
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and str(error.filename or temporary) == str(temporary):
            error.filename = str(path)                     # a full disk names no file, a read-only folder the temporary one
        raise


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for this user alone, which vanishes with all that is in it when the block ends. Raises OSError."""
    from tempfile import gettempdir  # a library that takes longer to import than this module
    folder = _temporary_in(Path(gettempdir()))
    with ExitStack() as stack:
        stack.callback(_remove_folder, folder)
        folder.mkdir(mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        _lock(descriptor)
        yield folder


def _temporary_in(folder: Path) -> Path:
    """A new temporary name in a folder. The first call for a folder removes what killed processes have left there."""
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)
    return folder / f".slim-{os.urandom(8).hex()}.tmp"


def _remove_folder(folder: str | os.PathLike[str]) -> None:
    """Remove a folder with everything in it, as far as possible."""
    from shutil import rmtree  # as tempfile above
    rmtree(folder, ignore_errors=True)


def _lock(file: int | IO[bytes]) -> None:
    with suppress(OSError):                                # a file system without locks: sweep() leaves its files alone
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def sweep(folder: Path) -> None:
    """Remove from a folder this user's temporary files and folders whose writers are gone. What cannot be removed stays."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_abandoned(entry)


def _remove_abandoned(entry: os.DirEntry[str]) -> None:
    state, is_folder = entry.stat(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
    ours = (is_folder or entry.is_file(follow_symlinks=False)) and state.st_uid == os.geteuid()
    if not ours or time.time() - state.st_mtime < YOUNG:
        return
    descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)      # raises OSError while the writer lives
        (_remove_folder if is_folder else os.unlink)(entry.path)
    finally:
        os.close(descriptor)
