"""To the dense matrix and back."""

from __future__ import annotations

import numpy as np

from isa.instruction import LONGEST, instruction
from isa.numbers import FORMATS, ValueKind
from isa.sparse.layout import FORMS
from isa.traps import Cause, Trap
from isa.units.sp.matrices import LAYOUTS, OFFSETS, bm, matrix, number


def _cols(m):
    """Columns of a matrix that is expanded, elements of a vector that is compressed."""
    if m.csr("sp.cols") > LONGEST:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("sp.cols"), f"sp.cols is {m.csr('sp.cols')}; expected at most 2**28")
    return m.csr("sp.cols")


def _define_expand(kind: str, form: str) -> None:
    fmt, layout_of, offsets_of = FORMATS[form], LAYOUTS[kind], OFFSETS[kind]

    @instruction(f"sp.expand.{kind}.{form} R  opcode=0x2B funct3=7 funct7={0x60 + number(kind, form):#04x}",
                 "dst[r, c] = W[r, c], 0 where it is not stored",
                 operands=f"dst>{form}[rows,sp.cols] W<{form}[stored] rows",
                 example=f"csrw sp.cols, a2\ncsrw sp.meta, a6\nsp.expand.{kind}.{form} a3, a4, a5")
    def sp_expand(m, dst, W, rows):
        layout, cols = layout_of(m), _cols(m)
        stream, row_bytes = matrix(m, layout, offsets_of, fmt, W, rows, cols), fmt.row_bytes(cols)
        m.check_write(dst, rows * row_bytes, max(int(fmt.bits) // 8, 1))
        result = np.zeros((rows, row_bytes), np.uint8)
        for first, data, slots, dense, _ in stream:
            result[first:first + len(dense)] = _dense_bytes(fmt, data, slots, len(dense), cols)
        m.write(dst, result.reshape(-1))
        m.count("sp.elements", rows * cols)


def _dense_bytes(fmt, data, slots, rows, cols):
    """Rows of the dense matrix as bytes, (rows, row_bytes), from stored values as they are: also NaNs and spare codes."""
    width = int(fmt.bits)
    codes = (np.unpackbits(data.reshape(-1, 1), axis=1, bitorder="little").reshape(-1, width) if width < 8
             else data.reshape(-1, width // 8))
    places = np.arange(len(slots.rows)) if width >= 8 else _first_codes(slots.runs, 8 // width)
    zero = np.unpackbits(fmt.pack(np.zeros((1, 1))), axis=1, bitorder="little")[:, :width] if width < 8 else 0
    dense = np.zeros((rows, cols, codes.shape[1]), np.uint8) + np.asarray(zero, np.uint8)
    inside = (slots.rows < rows) & (slots.columns < cols)
    dense[slots.rows[inside], slots.columns[inside]] = codes[places[inside]]
    flat = dense.reshape(rows, -1)
    return np.packbits(flat, axis=1, bitorder="little") if width < 8 else flat


def _first_codes(runs, per_byte):
    """The number of each stored value among the codes of all bytes, where each run starts on a byte."""
    padded = -(-runs // per_byte) * per_byte
    ahead = np.cumsum(padded - runs) - (padded - runs)
    return np.arange(int(runs.sum())) + np.repeat(ahead, runs)


def _define_compress(funct2: int, form: str) -> None:
    fmt = FORMATS[form]

    @instruction(f"sp.compress.bm.{form} R4 opcode=0x5B funct3=7 funct2={funct2}",
                 "mask bit k = a value of block k of x is not 0; values = the blocks whose bit is 1; rd = how many values",
                 operands=f"=count values>{form}[count] mask>b1[blocks] x<{form}[sp.cols]",
                 example=f"csrw sp.cols, a4             # elements of x\nsp.compress.bm.{form} t0, a0, a1, a2")
    def sp_compress(m, values, mask, x):
        layout, cols, size = bm(m), _cols(m), int(fmt.bits) // 8
        data = m.read(x, cols * size, size)
        padded = np.pad(data, (0, -cols % layout.block * size)).reshape(layout.blocks(cols), layout.block * size)
        present = (np.pad(fmt.unpack(data.reshape(1, -1), cols)[0], (0, -cols % layout.block)) != 0).reshape(-1, layout.block)
        stored = present.any(axis=1)
        m.check_write(values, int(stored.sum()) * layout.block * size, size)
        m.write(mask, np.packbits(stored, bitorder="little"))
        m.write(values, padded[stored].reshape(-1), size)
        count = int(stored.sum()) * layout.block
        m.count("sp.values", count)
        m.count("sp.values_float", count if fmt.kind is ValueKind.FLOAT else 0)
        m.count("sp.elements", cols)
        return count


for _kind in LAYOUTS:
    for _form in FORMS:
        _define_expand(_kind, _form)
for _number, _form in enumerate(("i8", "f16", "f32"), start=1):
    _define_compress(_number, _form)
