"""Files that appear whole or not at all: what an exception, a signal and a killed writer leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import SLIMULATOR, Child, run

from isa import files
from isa.files import replacing, sweep, temporary_folder

ROOT = Path(__file__).parents[2]
LIMIT = 60              # seconds that a child may take

ENDLESS = """
_start: li a0, 1
        la a1, mark
        li a2, 1
        li a7, 64
        ecall
1:      j 1b
mark:   .ascii "!"
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with replacing(tmp_path / "f") as stream:
        stream.write(b"one")
        assert names(tmp_path) != ["f"]
    assert (tmp_path / "f").read_bytes() == b"one" and names(tmp_path) == ["f"]
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "f") as stream:
        stream.write(b"two" * (1 // 0))
    assert (tmp_path / "f").read_bytes() == b"one" and names(tmp_path) == ["f"]


def test_a_pipe_without_a_name_is_written_to() -> None:
    """/dev/stdout may be one: the name that it resolves to is not that of a file."""
    source = "from pathlib import Path; from isa.files import replacing\nwith replacing(Path('/dev/stdout')) as s: s.write(b'one')"
    assert subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, check=True, timeout=LIMIT).stdout == b"one"


def old(path: Path) -> Path:
    os.utime(path, (time.time() - 3600,) * 2)
    return path


def test_only_what_is_ours_and_has_no_writer_is_swept(tmp_path: Path) -> None:
    left, young, fifo, link = (tmp_path / f".slim-{digit * 16}.tmp" for digit in "0123")
    others = [tmp_path / name for name in ("a.tmp", ".slim-0.tmp", f".slim-{'0' * 16}.tmp~", f"x.slim-{'0' * 16}.tmp", "notes")]
    for path in (left, young, *others):
        path.write_bytes(b"x")
    os.mkfifo(fifo)
    link.symlink_to("notes")
    (tmp_path / f".slim-{'4' * 16}.tmp").mkdir()            # young, too
    for path in (left, fifo, *others):
        old(path)
    with replacing(tmp_path / "f") as stream:
        mine, = {path for path in tmp_path.glob(".slim-*.tmp") if path.is_file() and path.read_bytes() == b""}
        old(mine)
        before = set(names(tmp_path))
        sweep(tmp_path)
        assert before - set(names(tmp_path)) <= {left.name} and not left.exists()
        stream.write(b"whole")
    assert (tmp_path / "f").read_bytes() == b"whole"


def test_a_folder_is_swept_by_the_next_who_writes_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers are killed; one that comes later removes what they left."""
    writer = ("import os, sys\nfrom pathlib import Path\nfrom isa.files import replacing\n"
              "with replacing(Path(sys.argv[1])) as stream:\n    stream.write(bytes(1 << 20))\n    os.kill(os.getpid(), 9)")
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", writer, tmp_path / "f"], cwd=ROOT, timeout=LIMIT)
        assert done.returncode == -signal.SIGKILL
    left = [path for path in tmp_path.iterdir() if path.stat().st_size]
    assert len(left) == 3
    for path in left:
        old(path)
    monkeypatch.setattr(files, "_swept", set())
    with replacing(tmp_path / "f"):
        pass
    assert names(tmp_path) == ["f"]


def test_a_temporary_folder_vanishes_and_a_killed_ones_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one with gigabytes in it: compiling and verifying are killed on the way."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed = ("import os\nfrom isa.files import temporary_folder\nwith temporary_folder() as folder:\n"
              "    (folder / 'a').mkdir()\n    (folder / 'a' / 'weights').write_bytes(b'x')\n    os.kill(os.getpid(), 9)")
    done = run(sys.executable, "-c", killed, env=os.environ | {"TMPDIR": str(tmp_path)})
    left, = tmp_path.iterdir()
    assert done.returncode == -signal.SIGKILL and (left / "a" / "weights").exists()
    (tmp_path / "mine.tmp").mkdir()
    for path in (left, tmp_path / "mine.tmp"):
        old(path)
    monkeypatch.setattr(files, "_swept", set())
    with temporary_folder() as folder:
        (folder / "f").write_bytes(b"x")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert names(tmp_path) == sorted([folder.name, "mine.tmp"])
        old(folder)
        sweep(tmp_path)                                     # while somebody is at work in it
        assert (folder / "f").exists()
    assert names(tmp_path) == ["mine.tmp"]
    with pytest.raises(ZeroDivisionError), temporary_folder() as folder:
        (folder / "f").write_bytes(b"two" * (1 // 0))
    assert names(tmp_path) == ["mine.tmp"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("deaf", [False, True], ids=["", "SIGINT ignored"])         # as of what a shell starts in the background
@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_signal_ends_a_run_and_leaves_no_file(assembled, tmp_path: Path, engine: str, number: int, deaf: bool) -> None:
    elf, folder = assembled(ENDLESS), tmp_path / "results"
    folder.mkdir()
    given = [(signal.SIGINT, signal.SIG_IGN if deaf else signal.SIG_DFL), (number, signal.SIG_DFL)]     # whatever nohup has set
    before = [(one, signal.signal(one, action)) for one, action in given]
    try:
        files = "--json", folder / "r.json", "--csv", folder / "r.csv"
        child = Child(*SLIMULATOR, "run", elf, "--quiet", "--engine", engine, *files)
    finally:
        for one, action in before:
            signal.signal(one, action)
    with child:
        child.wait_for("!")
        assert len(names(folder)) == 2
        child.signal(number)
        _, err = child.end()
    assert (child.status, err, names(folder)) == (-number, "", [])


def test_a_hangup_that_is_ignored_stays_so(assembled, tmp_path: Path) -> None:
    """nohup."""
    elf = assembled(ENDLESS)
    with Child("sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *SLIMULATOR, "run", elf, "--timeout", "1", "--quiet") as child:
        child.wait_for("!")
        child.signal(signal.SIGHUP)
        _, err = child.end()
    assert child.status == 1 and "stopped by --timeout 1" in err
