"""What is kept: where, for whom, how much, and that the same work is done once."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest
from children import Child

import slimulator
from isa import caches
from isa.caches import CacheError, CacheWarning, KeptFolder, limit, temporary, usual

ROOT = Path(__file__).parents[2]
LIMIT = 120             # seconds that a child may take


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptFolder:
    """A cache below a home of this test's own, as a new process sees it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, value in (("_refused", {}), ("_trusted", set()), ("_locks", {})):
        monkeypatch.setattr(caches, name, value)
    return KeptFolder("things", re.compile(r"[a-z]+/[a-z]+\.(o|sum)"), 1)


def write(text: str = "x"):
    return lambda path: void(path.write_text(text))


def void(_: object) -> None: ...


def test_what_is_kept_is_found(cache: KeptFolder, tmp_path: Path) -> None:
    assert list(cache.places("a/b.o")) == []
    path = cache.keep("a/b.o", write())
    assert list(cache.places("a/b.o")) == [path] == [tmp_path / "home" / "slimulator" / "things" / "a" / "b.o"]
    for folder in (path.parents[2], path.parents[1], path.parents[0]):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_relative_or_missing_home_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG Base Directory Specification has it."""
    for home in ("", "here"):
        monkeypatch.setenv("XDG_CACHE_HOME", home)
        assert usual() == Path("~/.cache/slimulator").expanduser()


def test_own_folders_that_others_may_look_into_are_closed(cache: KeptFolder) -> None:
    path = cache.keep("a/b.o", write())
    for mode in (0o777, 0o755, 0o750):
        caches._trusted.clear()
        for folder in (usual(), path.parent):
            folder.chmod(mode)
        assert list(cache.places("a/b.o")) == [path]
        assert usual().stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_user_is_refused(cache: KeptFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a file of another's, which would be executed."""
    path = cache.keep("a/b.o", write())
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    caches._trusted.clear()
    with pytest.warns(CacheWarning, match=rf"{usual()} cannot be used \(it belongs to user {me}\): what is compiled is kept in "):
        assert list(cache.places("a/b.o")) == []
    caches._refused.clear()
    caches._trusted.update((usual(), path.parent))
    assert list(cache.places("a/b.o")) == []


def test_a_link_in_the_temporary_folder_is_not_followed(cache: KeptFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may put one there. A link in place of the usual folder is the user's own."""
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    usual().symlink_to(tmp_path / "elsewhere")
    assert cache.keep("a/b.o", write()).resolve() == tmp_path / "elsewhere" / "things" / "a" / "b.o"
    temporary().symlink_to(tmp_path / "elsewhere")
    looked_at: list[tuple[str, Path]] = []
    for name in ("stat", "lstat"):
        real = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda path, name=name, real=real, **options:
                            [looked_at.append((name, path)), real(path, **options)][1])     # type: ignore[func-returns-value]
    caches._own(temporary())
    monkeypatch.undo()
    assert ("lstat", tmp_path / temporary().name) == looked_at[0]


@pytest.mark.parametrize("home", ["/dev/null", "/proc/self/nowhere"])
def test_without_a_usual_folder_a_temporary_one_takes_its_place(cache: KeptFolder, monkeypatch: pytest.MonkeyPatch,
                                                                home: str) -> None:
    """With one warning, for later processes too."""
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    with pytest.warns(CacheWarning, match=f"{home}/slimulator cannot be used .*: what is compiled is kept in {temporary()}"), \
            cache.locked("a/b.o"):
        path = cache.keep("a/b.o", write())
    assert path.is_relative_to(temporary()) and temporary().stat().st_mode & 0o777 == 0o700
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.keep("a/c.o", write())
        assert list(cache.places("a/b.o")) == [path]
    caches._refused.clear()                         # another process
    with pytest.warns(CacheWarning):
        assert list(cache.places("a/b.o")) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_full_folder_is_left_for_a_temporary_one(cache: KeptFolder, number: int) -> None:
    def full(path: Path) -> None:
        if path.is_relative_to(usual()):
            raise OSError(number, os.strerror(number), str(path))
        path.write_text("x")

    with pytest.warns(CacheWarning, match=os.strerror(number)):
        assert cache.keep("a/b.o", full).is_relative_to(temporary())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.keep("a/c.o", full).is_relative_to(temporary())
    caches._refused.clear()
    with pytest.warns(CacheWarning, match="where an earlier command kept it"):
        assert len(list(cache.places("a/b.o"))) == 1


def test_an_error_of_the_work_itself_is_none_of_the_folder(cache: KeptFolder) -> None:
    def broken(path: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "the model is gone", "model")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FileNotFoundError, match="the model is gone"):
            cache.keep("a/b.o", broken)


# ------------------------------------------------------------------------------------------------ size


def age(path: Path, minutes: float) -> None:
    os.utime(path, (time.time() - 60 * minutes,) * 2)


def test_what_was_not_used_for_longest_goes(cache: KeptFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(caches.SIZE, "3K")
    paths = [cache.keep(f"a/{name}.o", write("x" * 1000)) for name in "abcde"]
    notes = [cache.keep(f"a/{name}.sum", write("x")) for name in "abcde"]
    for number, (path, note) in enumerate(zip(paths, notes, strict=True)):
        age(path, 100 - number)
        age(note, 100 - number)
    caches.used(notes[0])                           # its use counts for both
    other = paths[0].with_name("mine.txt")
    other.write_text("y" * 9000)
    age(other, 1000)
    cache.trim(paths[1])
    assert [path.exists() for path in paths] == [True, True, False, False, True] == [note.exists() for note in notes]
    assert other.exists()
    monkeypatch.setenv(caches.SIZE, "0")
    cache.trim()
    assert [path.exists() for path in paths] == [True, False, False, False, False]         # it was used just now
    age(notes[0], 2)
    cache.trim()
    assert [path.name for path in paths[0].parent.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("1", 1), ("2K", 2048), ("3m", 3 << 20), ("5G", 5 << 30), ("1TiB", 1 << 40),
                                            (" 7MB ", 7 << 20), ("", 5 << 30)])
def test_sizes(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv(caches.SIZE, text)
    assert limit() == size
    assert caches.KERNELS.limit == size // 10 and caches.PROGRAMS.limit == size


@pytest.mark.parametrize("text", ["-1", "much", "1.5G", "5 G B", "G"])
def test_a_size_that_is_none(cache: KeptFolder, command, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(caches.SIZE, text)
    with pytest.raises(CacheError), cache.locked("a"):
        pass
    assert command("cache") == (1, "", f"error: SLIMULATOR_CACHE_SIZE={text}: expected bytes, e.g. 500M or 5G\n")


# ------------------------------------------------------------------------------------------------ slimulator cache


def test_cache_shows_and_clears_what_is_ours(cache: KeptFolder, command) -> None:
    status, out, err = command("cache")
    assert (status, err) == (0, "") and "kernels        0 files        0 B of 512.0 MiB" in out and str(usual() / "programs") in out
    kernel = caches.KERNELS.keep(f"{'0' * 16}/vec.relu.f32.o", write("x" * 2048))
    program = caches.PROGRAMS.keep(f"{'1' * 32}.elf", write("y" * 4096))
    note = caches.PROGRAMS.keep(f"contents/{'2' * 32}", write("z"))
    age(program, 60 * 50)
    others = [kernel.with_name("notes.txt"), program.with_name("my.elf"), usual() / "thesis.tex", usual() / "kernels" / "x.o"]
    for path in others:
        path.write_text("mine")
    (usual() / "programs" / "link").symlink_to(others[2])
    out = command("cache")[1].splitlines()
    assert out[0].split()[:6] == ["kernels", "1", "file", "2.0", "KiB", "of"] and "all used less than a minute ago" in out[0]
    assert out[1].split()[:6] == ["programs", "2", "files", "4.0", "KiB", "of"] and "oldest used 2 days ago" in out[1]
    rows = json.loads(command("cache", "programs", "--json")[1])["caches"]
    assert [(row["cache"], row["files"], row["bytes"], row["limit"]) for row in rows] == [("programs", 2, 4097, 5 << 30)]
    assert "2.0 KiB freed" in command("cache", "kernels", "--clear")[1]
    assert (kernel.exists(), program.exists()) == (False, True)
    assert "4.0 KiB freed" in command("cache", "--clear")[1]
    assert not program.exists() and not note.exists()
    assert all(path.read_text() == "mine" for path in others) and (usual() / "programs" / "link").is_symlink()


# ------------------------------------------------------------------------------------------------ processes

WORKER = """
import sys, time
from pathlib import Path
from isa.caches import KERNELS
name, waited = "0123456789abcdef/a.o", []
with KERNELS.locked(name, lambda: waited.append(1)):
    if not any(KERNELS.places(name)):
        print("works", flush=True)
        if sys.argv[1] == "hang":
            time.sleep(600)
        time.sleep(0.5)
        KERNELS.keep(name, lambda path: path.write_text("x"))
print("waited" if waited else "went on", flush=True)
"""


def start(home: Path, how: str = "") -> Child:
    return Child(sys.executable, "-c", WORKER, how, env=os.environ | {"XDG_CACHE_HOME": str(home)})


def test_side_by_side_the_work_is_done_once(tmp_path: Path) -> None:
    with start(tmp_path) as first, start(tmp_path) as second, start(tmp_path) as third:
        outs = [child.end()[0] for child in (first, second, third)]
    assert sum(out.count("works") for out in outs) == 1


def test_a_dead_holder_blocks_nobody(tmp_path: Path) -> None:
    with start(tmp_path, "hang") as holder:
        assert holder.line() == "works\n"
        with start(tmp_path) as child:
            time.sleep(2)
            assert child.status is None
            holder.signal(signal.SIGKILL)
            assert child.end()[0] == "works\nwaited\n"


def test_a_holder_that_hangs_blocks_for_a_limited_time(cache: KeptFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(tmp_path / "home", "hang") as holder:
        assert holder.line() == "works\n"
        monkeypatch.setattr(caches, "PATIENCE", 0.2)
        waited: list[int] = []
        began = time.monotonic()
        with caches.KERNELS.locked("0123456789abcdef/a.o", lambda: waited.append(1)):
            assert waited == [1] and 0.2 < time.monotonic() - began < LIMIT
        with caches.KERNELS.locked("0123456789abcdef/b.o", lambda: waited.append(2)):
            assert waited == [1]                    # another name is another lock


def test_a_run_without_a_usual_folder_compiles_once(assembled, tmp_path: Path) -> None:
    """The second process finds what the first has kept in the temporary folder. Each says so in one line."""
    elf = assembled("_start: vec.relu.f32 x0, x0, x0\n sync.fence\n li a7, 93\n li a0, 7\n ecall\n")
    environment = os.environ | {"XDG_CACHE_HOME": "/dev/null", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "slimulator", "run", elf]
    first, second = (subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
                     for _ in range(2))
    where = tmp_path / f"slimulator-{os.geteuid()}"
    assert first.returncode == second.returncode == 7
    assert first.stderr.startswith("warning: /dev/null/slimulator cannot be used (Not a directory): "
                                   f"what is compiled is kept in {where}\n"
                                   "compiling kernels for this processor: the first run takes up to a minute ...\nexit after")
    assert "compiling" not in second.stderr and second.stderr.startswith("warning: ") and second.stderr.count("warning") == 1
    assert len(list(where.glob("kernels/*/*.o"))) == 5             # of the two operations, the loop, and two of the clock


def test_warnings_of_libraries_stay_theirs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(query: str, more: object) -> None:
        warnings.warn("of a library", DeprecationWarning, stacklevel=1)
        warnings.warn("of ours", CacheWarning, stacklevel=1)
        raise MemoryError

    monkeypatch.setattr("isa.manual.look_up", look_up)
    with pytest.warns(DeprecationWarning, match="of a library"):
        slimulator.invoke(["isa"])
    assert capsys.readouterr().err.startswith("warning: of ours\nerror: out of memory")
