"""What is kept from one run to the next: compiled kernels and compiled programs, below ~/.cache/slimulator, for many processes.

    for path in PROGRAMS.places("0123.elf"): ...        where it lies already
    with PROGRAMS.locked("0123.elf"):                   nobody else makes it now
        path = PROGRAMS.keep("0123.elf", write)         write(path) makes the file
        PROGRAMS.trim(path)                             what was not used for longest goes, beyond the limit

Folders are closed to other users, and one that belongs to another user is not used: code from here is executed. Where the usual
folder cannot be written to, a temporary one takes its place, with one warning. Everything here may be deleted at any time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from isa.files import TEMPORARY, sweep

SIZE = "SLIMULATOR_CACHE_SIZE"
USUAL_SIZE = "5G"
PATIENCE = 600.0            # seconds that a process waits for another one's work before it does the work itself
FRESH = 60.0                # seconds for which a file that was just used is not removed
_NO_ROOM = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CacheWarning(UserWarning):
    """The usual folder cannot be used."""


class CacheError(ValueError):
    """SLIMULATOR_CACHE_SIZE is no size."""


@dataclass(frozen=True)
class KeptFiles:
    """Files that are kept and removed together. `used`: when they were last needed, in seconds since the epoch."""

    files: tuple[Path, ...]
    size: int
    used: float


# ------------------------------------------------------------------------------------------------ where


def usual() -> Path:
    """The folder of a user's caches: $XDG_CACHE_HOME/slimulator, ~/.cache/slimulator."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return Path(home if os.path.isabs(home) else os.path.expanduser("~/.cache")) / "slimulator"


def temporary() -> Path:
    """The folder that takes its place, the same for all processes of a user."""
    from tempfile import gettempdir  # a library that takes longer to import than a look into the usual folder
    return Path(gettempdir()) / _temporary_name()


def _temporary_name() -> str:
    return f"slimulator-{os.geteuid()}"


_refused: dict[Path, str] = {}          # roots that this process does not use any more, and why
_trusted: set[Path] = set()             # folders that were looked at
_locks: dict[Path, int] = {}            # open files, never closed: that would let go of every lock in one


def _refuse(root: Path, why: str) -> None:
    """Leave a root alone from now on, with a warning."""
    if root not in _refused:
        _refused[root] = why
        instead = "nothing that is compiled is kept" if root == temporary() else f"what is compiled is kept in {temporary()}"
        warnings.warn(f"{root} cannot be used ({why}): {instead}", CacheWarning, stacklevel=2)


def _own(folder: Path) -> bool:
    """Whether a folder is there; one that others may look into is closed. Raises OSError, also if it is another user's."""
    try:
        state = folder.lstat() if folder.name == _temporary_name() else folder.stat()       # anybody may put a link into /tmp
    except FileNotFoundError:
        return False
    if state.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"it belongs to user {state.st_uid}", str(folder))
    if state.st_mode & 0o077:
        with suppress(OSError):                             # of a read-only file system
            folder.chmod(state.st_mode & 0o700)
    return True


def _make(folder: Path, root: Path) -> None:
    """Make a folder below a root, and the root, as this user's own. Raises OSError."""
    for part in reversed([folder, *folder.parents][:len(folder.relative_to(root).parts) + 1]):
        if not _own(part):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            _own(part)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "it cannot be written to", str(folder))


# ------------------------------------------------------------------------------------------------ one cache


@dataclass
class KeptFolder:
    """A folder below the user's. `pattern`: of the names that files here have; no other one is ever touched.

    share   of the limit that it may take, 1 / share
    root    instead of the user's folder, for tests
    """

    name: str
    pattern: re.Pattern[str]
    share: int
    root: Path | None = None

    def roots(self) -> Iterator[Path]:
        """Where this process looks and writes, in order."""
        first = self.root or usual()
        if first not in _refused:
            yield first
        if self.root is None and temporary() not in _refused:
            yield temporary()

    def places(self, name: str) -> Iterator[Path]:
        """The files of this name that are there, best first."""
        for root in self.roots():
            path = root / self.name / name
            try:
                if not all(folder in _trusted or _own(folder) for folder in (root, path.parent)):
                    continue
                _trusted.update((root, path.parent))
                if path.stat().st_uid != os.geteuid():
                    continue
            except FileNotFoundError:
                continue
            except OSError as error:
                _refuse(root, error.strerror or str(error))
                continue
            if root.name == _temporary_name() and not _refused:
                _refused[usual()] = ""
                warnings.warn(f"what is compiled comes from {root}, where an earlier command kept it: {usual()} does not have it",
                              CacheWarning, stacklevel=2)
            yield path

    def keep(self, name: str, write: Callable[[Path], None]) -> Path:
        """Keep the file that write(path) makes, whole or not at all. Returns its path. Raises OSError where no folder has room."""
        last: OSError | None = None
        for root in self.roots():
            path, made = root / self.name / name, False
            try:
                _make(path.parent, root)
                made = True
                write(path)
                return path
            except OSError as error:
                if made and error.errno not in _NO_ROOM:
                    raise
                last = error
                _refuse(root, error.strerror or str(error))
        raise last or OSError(errno.EACCES, "; ".join(_refused.values()), str(usual()))

    @contextmanager
    def locked(self, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """While the block runs, other processes that want to make `name` wait; `waiting` is called before this one does.

        The lock ends with its holder. After PATIENCE seconds the block runs without it, as it does where there are no locks.
        Raises CacheError.
        """
        limit()
        stream = self._lock()
        at = int.from_bytes(sha256(name.encode()).digest()[:7])
        held = stream is not None and _acquire(stream, at, waiting)
        try:
            yield
        finally:
            if held:
                assert stream is not None
                fcntl.lockf(stream, fcntl.LOCK_UN, 1, at)

    def _lock(self) -> int | None:
        """The file whose bytes are the locks, open: its descriptor. None where there is none."""
        for root in self.roots():
            path = root / self.name / "lock"
            try:
                _make(path.parent, root)
                if path not in _locks:
                    _locks[path] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                return _locks[path]
            except OSError as error:
                _refuse(root, error.strerror or str(error))
        return None

    # -------------------------------------------------------------------------------------------- its size

    @property
    def limit(self) -> int:
        """Bytes that may lie here. Raises CacheError."""
        return limit() // self.share

    def entries(self, root: Path) -> list[KeptFiles]:
        """The files of caches below a root, the least recently used first. Other files are left out."""
        base = root / self.name
        found: dict[Path, list[tuple[Path, os.stat_result]]] = {}
        for folder, _, names in os.walk(base):              # does not follow links
            for name in names:
                path = Path(folder, name)
                with suppress(OSError):
                    state = path.lstat()
                    if self.pattern.fullmatch(path.relative_to(base).as_posix()) and state.st_uid == os.geteuid():
                        found.setdefault(path.with_suffix(""), []).append((path, state))
        kept = (KeptFiles(tuple(path for path, _ in files), sum(state.st_size for _, state in files),
                          max(state.st_mtime for _, state in files)) for files in found.values())
        return sorted(kept, key=lambda entry: entry.used)

    def trim(self, *spare: Path) -> None:
        """Remove what was not used for longest until the rest is within the limit, but neither `spare` nor what is in use now."""
        for root in self.roots():
            entries = self.entries(root)
            excess = sum(entry.size for entry in entries) - self.limit
            for entry in entries:
                if excess > 0 and not set(spare) & set(entry.files) and time.time() - entry.used > FRESH:
                    _remove(entry.files)
                    excess -= entry.size

    def clear(self, root: Path) -> int:
        """Remove all files of caches below a root. Returns the bytes that this freed."""
        entries = self.entries(root)
        for entry in entries:
            _remove(entry.files)
        for folder, _, names in os.walk(root / self.name, topdown=False):
            if any(TEMPORARY.fullmatch(name) for name in names):
                sweep(Path(folder))
            with suppress(OSError):                         # not empty
                os.rmdir(folder)
        return sum(entry.size for entry in entries)


def used(path: Path, after: float = 0.0) -> None:
    """Note that a file is used now, if the last note is older than `after` seconds."""
    with suppress(OSError):
        if time.time() - path.stat().st_mtime >= after:
            os.utime(path)


def _remove(files: tuple[Path, ...]) -> None:
    for path in files:
        with suppress(OSError):
            path.unlink()


def _acquire(stream: int, at: int, waiting: Callable[[], None]) -> bool:
    end, told = time.monotonic() + PATIENCE, False
    while True:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
            return True
        except (BlockingIOError, PermissionError):
            if not told:
                waiting()
                told = True
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        except OSError:                                     # no locks here
            return False


def limit() -> int:
    """Bytes that all caches may take together: SLIMULATOR_CACHE_SIZE. Raises CacheError."""
    text = os.environ.get(SIZE) or USUAL_SIZE
    found = re.fullmatch(r"(\d{1,12})([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise CacheError(f"{SIZE}={text}: expected bytes, e.g. 500M or {USUAL_SIZE}")
    return int(found[1]) << 10 * " KMGT".index(found[2].upper() or " ")


KERNELS = KeptFolder("kernels", re.compile(r"[0-9a-f]{16}/[\w.]+\.o"), 10)
PROGRAMS = KeptFolder("programs", re.compile(r"[0-9a-f]{32}\.(elf|sum)|contents/[0-9a-f]{32}"), 1)
