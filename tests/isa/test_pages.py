"""How memory lies in the host: contents of files are mapped, a large program starts at once and costs what it touches."""

from __future__ import annotations

import json
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT

import asm
from isa.engine import pages
from isa.program import FileSlice, ProgramError

ROOT = Path(__file__).parents[2]
PAGE = mmap.PAGESIZE
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")


@pytest.fixture
def file(tmp_path: Path) -> tuple[str, np.ndarray]:
    data = np.random.default_rng(3).integers(0, 256, 6 * PAGE, np.uint8)
    (tmp_path / "data").write_bytes(data.tobytes())
    return str(tmp_path / "data"), data


@pytest.mark.parametrize("offset", [0, 1, 96, PAGE, PAGE + 5])
@pytest.mark.parametrize("at", [0, 1, 96, PAGE, PAGE + 5])
@pytest.mark.parametrize("size", [0, 1, 3000, PAGE, PAGE + 1, 4 * PAGE, 4 * PAGE + 77])
def test_contents_of_a_file_stand_where_they_are_placed_and_the_file_stays(file, offset: int, at: int, size: int) -> None:
    path, data = file
    memory = pages.zeros(8 * PAGE)
    memory[:] = 7
    pages.place(FileSlice(path, offset, size), memory[at:at + size])
    expected = np.full(8 * PAGE, 7, np.uint8)
    expected[at:at + size] = data[offset:offset + size]
    assert (memory == expected).all()
    memory[:] = 9
    assert Path(path).read_bytes() == data.tobytes()


def test_a_file_that_has_become_shorter_is_refused(file) -> None:
    path, data = file
    for use in (pages.mapped, lambda piece: pages.place(piece, pages.zeros(len(piece)))):
        with pytest.raises(ProgramError, match="file became shorter"):
            use(FileSlice(path, 1, len(data)))


@LINUX
def test_touched_pages(file) -> None:
    path, data = file
    memory = pages.zeros(1 << 34)
    assert pages.touched(memory) == []
    pages.place(FileSlice(path, 0, len(data)), memory[PAGE:PAGE + len(data)])
    assert memory[PAGE:PAGE + len(data)].tobytes() == data.tobytes()
    assert pages.touched(memory) == []                                  # read, not written
    written = (3 * PAGE, 4 * PAGE + 5, 1 << 33, (1 << 34) - 1)
    for at in written:
        memory[at] = 1
    ranges = pages.touched(memory)
    assert ranges[0] == (3 * PAGE, 5 * PAGE)                            # beside a file there are only small pages
    assert all(sum(start <= at < end for start, end in ranges) == 1 for at in written)
    assert all(start % PAGE == end % PAGE == 0 and end - start <= pages.LARGE for start, end in ranges)
    assert len(ranges) == 3
    assert pages.touched(pages.zeros(100)) == []


TOUCH = """
_start: la      t0, weights
        li      t1, 1 << 20
        li      t2, {touches}
1:      lbu     t3, 1000(t0)
        add     t4, t4, t3
        {store}
        add     t0, t0, t1
        addi    t2, t2, -1
        bnez    t2, 1b
        mv      a0, t4
        li      a7, 93
        ecall
        .section {section}
weights: .incbin "weights"
"""
CHILD = """
import json, sys, time
import numpy as np
from isa.program import Program
from isa.reference import ReferenceMachine

def resident():                                 # KiB: all, and what is of files
    return np.array(open("/proc/self/statm").read().split()[1:3], int) * 4

ReferenceMachine("slim").load(Program.load(sys.argv[1]))        # imports and tables are there
machine, before, start = ReferenceMachine("slim"), resident(), time.perf_counter()
machine.load(Program.load(sys.argv[2]))
seconds, loaded = time.perf_counter() - start, resident()
result = machine.run()
print(json.dumps([seconds, *(loaded - before).tolist(), *(resident() - loaded).tolist(), result.exit_code]))
"""


@LINUX
@pytest.mark.parametrize(("section", "store"), [('.flash.weights, "a"', "nop"), (".rodata", "nop"), (".data", "sb t2, 0(t0)")])
def test_a_program_of_a_gigabyte_starts_at_once_and_costs_what_it_touches(section: str, store: str, tmp_path: Path) -> None:
    """In flash, in read-only and in writable DRAM. 0.03 s on a quiet host."""
    touches = 64
    with open(tmp_path / "weights", "wb") as stream:
        stream.truncate(1 << 30)                                # holes but for what the program will read
        for number in range(touches):
            stream.seek((number << 20) + 1000)
            stream.write(b"\1")
    for name, text in (("large", TOUCH.format(touches=touches, store=store, section=section)), ("small", "_start: ecall\n")):
        (tmp_path / f"{name}.s").write_text(text)
        asm.assemble(tmp_path / f"{name}.s").save(tmp_path / f"{name}.elf")
    child = subprocess.run([sys.executable, "-c", CHILD, tmp_path / "small.elf", tmp_path / "large.elf"], cwd=ROOT,
                           capture_output=True, text=True, check=True, timeout=LIMIT)
    seconds, loading, _, running, of_files, exit_code = json.loads(child.stdout)
    assert exit_code == touches                                 # it has read the file's bytes
    assert seconds < 1
    assert loading < 8 << 10
    assert running - of_files < 32 << 10
    # The host maps some pages around each that is touched. In flash it may keep the file in large pages, and map these.
    assert running < (touches * pages.LARGE >> 10 if "flash" in section else 32 << 10)
