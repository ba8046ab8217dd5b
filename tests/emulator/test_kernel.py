"""What comes before a kernel's first line, as Python: which operands are looked up, which punt, what is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emulator.kernel import ANYWHERE, APART, IN_PLACE, kernel, prologue
from emulator.native.block import DONE, PORT, PUNT
from isa.instruction import LONGEST, TABLE, Row

ROWS = [row for row in TABLE.values() if row.is_xslim and row.plain]
BLOCK = 7
HOST = 1 << 40          # host address of address 0; nothing is below 4096


class Around:
    """The prologue of a row around a body that notes what it is given."""

    def __init__(self, mnemonic: str, *needed: str, overlap: str = APART, status: int = DONE) -> None:
        self.row, self.given, self.looked_up, self.counted = TABLE[mnemonic], [], [], []
        scope: dict[str, Any] = {
            "_readable": self.look_up("<"), "_writable": self.look_up(">"), "_scalar": lambda bits: ("f32", bits),
            "_count": lambda block, counter, events: self.counted.append((counter, events)),
            "_overlap": lambda a, m, b, n: a < b + n and b < a + m,
            "_apart": lambda a, m, b, n: a == b or not (a < b + n and b < a + m),
            "_body": lambda *values: self.given.append(values) or status, "DONE": DONE, "PUNT": PUNT}
        exec(prologue(self.row, list(needed), overlap), scope)
        self.run = scope["kernel"]

    def look_up(self, direction: str) -> Callable[..., tuple[int, str]]:
        def found(block: int, port: int, address: int, size: int, align: int) -> tuple[int, str]:
            assert block == BLOCK and port == PORT[self.row.unit]
            self.looked_up.append((direction, address, size, align))
            return (1 if size == 0 else HOST + address if address >= 4096 and address % align == 0 else 0), f"{direction}{address}"
        return found


def test_a_kernel_gets_what_it_names():
    around = Around("vec.axpy.f32", "n", "x", "y", "s", "block", "y_register", "x_bytes", "y_read", "y_written")
    assert around.run(4096, 0x3F800000, 8192, 10, BLOCK) == DONE
    assert around.given == [(10, HOST + 8192, HOST + 4096, ("f32", 0x3F800000), BLOCK, 4096, 40, "<4096", ">4096")]
    assert around.looked_up == [("<", 4096, 40, 4), ("<", 8192, 40, 4), (">", 4096, 40, 4)]
    assert around.counted == [("<4096", 40), ("<8192", 40), (">4096", 40)]


def test_addresses_that_depend_on_more_than_the_row_come_as_they_are():
    around = Around("vec.gemv.f32", "y", "W", "x", "rows")
    assert around.run(4096, 1, 2, 3, BLOCK) == DONE
    assert around.given == [(HOST + 4096, 1, 2, 3)] and around.looked_up == [(">", 4096, 12, 4)]


def test_what_is_not_plain_punts_and_nothing_is_counted():
    for values in ((4096, 8192, 16384, LONGEST + 1), (4096, 8192, 16384, -1), (0, 8192, 16384, 4), (4096, 0, 16384, 4),
                   (4096, 8192, 16385, 4)):
        around = Around("vec.add.f32", "dst", "a", "b", "n")
        assert around.run(*values, BLOCK) == PUNT
        assert around.given == [] and around.counted == []
    around = Around("vec.add.f32", "n", status=PUNT)
    assert around.run(4096, 8192, 16384, 4, BLOCK) == PUNT
    assert around.given == [(4,)] and around.counted == []


@pytest.mark.parametrize(("mnemonic", "overlap", "x", "allowed"), [
    ("vec.relu.f32", APART, 4096 + 40, True), ("vec.relu.f32", APART, 4096 + 36, False), ("vec.relu.f32", APART, 4096, False),
    ("vec.relu.f32", IN_PLACE, 4096, True), ("vec.relu.f32", IN_PLACE, 4096 + 4, False), ("vec.relu.f32", ANYWHERE, 4096 + 4, True),
    ("vec.cvt.f16.f32", IN_PLACE, 4096, True), ("vec.cvt.f32.f16", IN_PLACE, 4096, False),      # an element grows: it may not
])
def test_overlap(mnemonic, overlap, x, allowed):
    around = Around(mnemonic, "dst", "x", overlap=overlap)
    assert around.run(4096, x, 10, 0, BLOCK) == (DONE if allowed else PUNT)
    assert Around(mnemonic, "dst", "x", overlap=overlap).run(4096, x, 0, 0, BLOCK) == DONE       # no bytes


@pytest.mark.parametrize("row", ROWS, ids=[row.mnemonic for row in ROWS])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 9, 1001])
def test_bytes_and_alignment_are_those_of_the_reference(row: Row, length: int):
    around = Around(row.mnemonic, overlap=ANYWHERE)
    names = [operand.name for operand in row.operands if operand is not row.result]
    values = {name: length if name in row.lengths else 4096 * (i + 1) for i, name in enumerate(names)}
    assert around.run(*values.values(), *[0] * (4 - len(names)), BLOCK) == DONE
    assert around.looked_up == [(direction, values[operand.name], operand.layout.size(values), operand.layout.align)
                                for direction in "<>" for operand in row.plain if direction in operand.access]


def test_names_and_kernels_that_there_are_not():
    with pytest.raises(ValueError, match=r"vec.relu.f32 asks for gain, z; expected some of dst, x, n, block, dst_register"):
        prologue(TABLE["vec.relu.f32"], ["dst", "z", "gain"])
    import emulator.units  # noqa: F401 - registers the kernels
    with pytest.raises(ValueError, match=r"sync\.fence has two kernels"):
        kernel("sync.fence")(lambda: DONE)
