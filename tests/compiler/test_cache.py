"""Programs that are kept: found while they are what was written, compiled again when they are not, compiled once for all."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from children import Child
from tiny_checkpoint import write_checkpoint

from compiler.running import cache
from compiler.running.generate import find_program
from isa import caches
from isa.caches import PROGRAMS
from isa.program import Program

ROOT = Path(__file__).parents[2]
LIMIT = 120             # seconds that a child may take


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept programs: a fresh one."""
    monkeypatch.setattr(PROGRAMS, "root", tmp_path / "kept")
    return tmp_path / "kept" / "programs"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model")


def unnoticed(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file, and put its time of change back."""
    state = path.stat()
    path.write_bytes(change(path.read_bytes()))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def flipped(data: bytes) -> bytes:
    """One bit of the middle: of weights, in a program."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1:]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:4096], lambda data: b"", flipped],
                         ids=["cut short", "first page", "empty", "a bit of a weight"])
def test_a_damaged_program_is_compiled_again(tiny: Path, damage: Callable[[bytes], bytes]) -> None:
    path = find_program(tiny)
    whole = path.read_bytes()
    unnoticed(path, damage)
    assert path.read_bytes() != whole
    assert find_program(tiny) == path and path.read_bytes() == whole


@pytest.mark.parametrize("damage", [None, "", "nonsense", "0" * 64 + " 1 2 3 4"])
def test_a_program_without_its_hash_is_compiled_again(tiny: Path, damage: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = find_program(tiny)
    note = path.with_suffix(".sum")
    note.unlink() if damage is None else note.write_text(damage)
    made: list[Path] = []
    keep = PROGRAMS.keep
    monkeypatch.setattr(caches.KeptFolder, "keep", lambda self, name, write: [made.append(Path(name)), keep(name, write)][1])  # type: ignore[func-returns-value]
    assert find_program(tiny) == path and made == [Path(path.name)]
    assert find_program(tiny) == path and made == [Path(path.name)]


def test_a_program_is_read_again_only_when_its_state_is_another(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first token does not wait for a hash of gigabytes."""
    path = find_program(tiny)
    read: list[Path] = []
    digest = cache._digest
    monkeypatch.setattr(cache, "_digest", lambda file: [read.append(file), digest(file)][1])    # type: ignore[func-returns-value]
    assert find_program(tiny) == path and read == []
    os.utime(path)                                  # somebody touches it: the same bytes
    assert find_program(tiny) == path and read == [path]
    assert find_program(tiny) == path and read == [path]


def test_weights_that_change_with_their_time_put_back_are_other_weights(tiny: Path) -> None:
    first = find_program(tiny)
    unnoticed(tiny, lambda data: data[:-1000] + bytes(4) + data[-996:])
    second = find_program(tiny)
    assert first != second and first.read_bytes() != second.read_bytes()


def test_the_hash_of_a_file_that_changes_meanwhile_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"one")
    digest = cache._digest

    def slow(path: Path) -> str:
        found = digest(path)
        path.write_bytes(b"other")
        return found

    monkeypatch.setattr(cache, "_digest", slow)
    first = cache.content(file)
    monkeypatch.setattr(cache, "_digest", digest)
    assert cache.content(file) == digest(file) != first


def test_programs_are_removed_with_their_hashes(tiny: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest, when others come; those that this process has found stay, for it may yet open them."""
    from compiler.settings import Settings
    paths = [find_program(tiny, Settings(context=context)) for context in range(2, 6)]
    for path in (*kept.glob("*.elf"), *kept.glob("*.sum")):
        os.utime(path, (0, 0))
    cache._found.clear()
    cache._found.append(paths[0])
    monkeypatch.setenv(caches.SIZE, "1K")
    last = find_program(tiny, Settings(context=7))
    assert {*kept.glob("*.elf")} == {paths[0], last} and len([*kept.glob("*.sum")]) == 2


def test_a_program_finds_another_place(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROGRAMS, "root", None)
    monkeypatch.setattr(caches, "_refused", {})
    monkeypatch.setattr(caches, "temporary", lambda: tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    with pytest.warns(caches.CacheWarning, match="cannot be used"):
        path = find_program(tiny)
    assert path.is_relative_to(tmp_path / "elsewhere")
    before = path.stat().st_mtime_ns
    assert find_program(tiny) == path and path.stat().st_mtime_ns == before


# ------------------------------------------------------------------------------------------------ processes

SLOW = """
import sys, time
from pathlib import Path
from compiler.running.generate import find_program
def progress(done, whole):
    if not done: return
    print("compiles", flush=True)
    time.sleep(float(sys.argv[2]))
path = find_program(Path(sys.argv[1]), progress=progress, waiting=lambda: print("waits", flush=True))
print(path)
"""


def child(tiny: Path, home: Path, seconds: float) -> Child:
    return Child(sys.executable, "-c", SLOW, tiny, seconds, env=os.environ | {"XDG_CACHE_HOME": str(home)})


def test_side_by_side_a_model_is_compiled_once(tiny: Path, tmp_path: Path) -> None:
    with child(tiny, tmp_path, 0.05) as first:
        assert first.line() == "compiles\n"
        with child(tiny, tmp_path, 0) as second:
            (out, _), (other, _) = first.end(), second.end()
    assert "compiles" not in other and out.splitlines()[-1] == other.splitlines()[-1]
    Program.load(out.splitlines()[-1])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_compiler_that_is_killed_blocks_nobody(tiny: Path, tmp_path: Path, number: int) -> None:
    with child(tiny, tmp_path, 600) as first:
        assert first.line() == "compiles\n"
        first.signal(number)
        first.end()
    with child(tiny, tmp_path, 0) as second:
        out, _ = second.end()
    assert "compiles" in out
    Program.load(out.splitlines()[-1])
