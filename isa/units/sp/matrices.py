"""The matrices that the instructions read: their layouts as CSRs say, and their bytes from memory, some rows at a time.

A meaning brings some rows into dense form, (k, cols), with a mask of what is stored.
"""

from __future__ import annotations

import numpy as np

from isa import sparse
from isa.numbers import ValueKind
from isa.sparse.layout import FORMS, counted, placed, run_bytes, unpack_runs
from isa.sparse.sound import sound
from isa.traps import Cause, Trap

_CHUNK = 1 << 20                        # elements in dense form at a time, to bound the memory of a large operation


def number(kind, form):
    """The number of a layout and a number format in the encoding: 0..24; 25..29 are left to a sixth format."""
    return len(FORMS) * sparse.KINDS.index(kind) + FORMS.index(form)


# ------------------------------------------------------------------------------------------------ layouts


def _nm(m):
    """The layout that `sp.nm` says."""
    n, most = m.csr("sp.nm") & 0xFF, m.csr("sp.nm") >> 8
    if not 1 <= n <= most <= 16:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("sp.nm"), f"sp.nm says {n} of {most}; expected 1 <= N <= M <= 16")
    return sparse.NOfM(n, most)


def _block(m):
    """Columns of a block."""
    if not 1 <= m.csr("sp.block") <= 1 << 16:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("sp.block"), f"sp.block is {m.csr('sp.block')}; expected 1..65536")
    return m.csr("sp.block")


def bm(m):
    """The layout that `sp.block` says."""
    return sparse.Bitmask(_block(m))


def _bl(m):
    """The layout that `sp.block_rows` and `sp.block` say."""
    if not 1 <= m.csr("sp.block_rows") <= 64:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("sp.block_rows"), f"sp.block_rows is {m.csr('sp.block_rows')}; expected 1..64")
    return sparse.RByC(m.csr("sp.block_rows"), _block(m))


def _cs(_m):
    """The layout has no settings."""
    return sparse.Columns()


def _no_offsets(_m, _runs):
    """There are none."""


def _offsets(m, runs):
    """The offsets at `sp.offsets`, (runs + 1,)."""
    offsets = m.read_u32(m.csr("sp.offsets"), runs + 1)
    sound(_rising, offsets)
    return offsets


def _rising(offsets):
    """Raises Malformed for offsets that fall."""
    counted(offsets, len(offsets) - 1, part=True)


LAYOUTS = {"nm": _nm, "bm": bm, "bl": _bl, "cs": _cs}
"""By the name in mnemonics: what makes the layout from its CSRs."""

OFFSETS = {"nm": _no_offsets, "bm": _no_offsets, "bl": _offsets, "cs": _offsets}
"""What reads its offsets."""

INTEGERS, FLOATS = FORMS[:3], FORMS[3:]

# ------------------------------------------------------------------------------------------------ rows


def matrix(m, layout, offsets_of, fmt, values, rows, cols, times=1):
    """Check the reads of a sparse matrix, and stream it: what `_stream` yields. Each value serves so many times."""
    if not rows or not cols:
        return iter(())
    offsets, stored = offsets_of(m, layout.runs(rows)), 0
    if offsets is not None:
        m.count("sp.meta_bytes", offsets.nbytes)
        offsets = offsets.astype(np.int64) - offsets[0]
        stored = int(offsets[-1])
    size = layout.meta_bytes(rows, cols, stored)
    m.check_read(m.csr("sp.meta"), size)
    meta = m.read(m.csr("sp.meta"), size)
    m.check_read(values, sound(layout.value_bytes, meta, rows, cols, fmt, offsets), max(int(fmt.bits) // 8, 1))
    return _stream(m, layout, fmt, (meta, offsets), values, rows, cols, times)


def _stream(m, layout, fmt, places, values, rows, cols, times):
    """Read a sparse matrix, some rows at a time. Yields (first row, bytes of values, their slots, dense (k, cols), which of its
    elements are stored (k, cols)). Counts values and bytes. `places`: metadata and offsets."""
    together = (_CHUNK // (cols * layout.together) + 1) * layout.together
    for first in range(0, rows, together):
        k = min(together, rows - first)
        meta, offsets = layout.part(*places, first, k, cols)
        slots = sound(layout.slots, meta, k, cols, offsets)
        data = m.read(values, run_bytes(slots.runs, fmt), max(int(fmt.bits) // 8, 1))
        dense, stored = sound(placed, slots, unpack_runs(data, slots.runs, fmt), k, cols)
        values += len(data)
        m.count("sp.values", times * len(slots.rows))
        m.count("sp.values_float", times * len(slots.rows) if fmt.kind is ValueKind.FLOAT else 0)
        m.count("sp.weight_bytes", len(data))
        m.count("sp.meta_bytes", len(meta))
        yield first, data, slots, dense, stored


def products(m, layout, offsets_of, fmt, values, rows, cols, vectors):
    """The matrix of products with each vector: yields (first row, dense (k, cols), which of its elements are stored). Counts
    products too."""
    for first, _, slots, dense, stored in matrix(m, layout, offsets_of, fmt, values, rows, cols, vectors):
        macs = np.count_nonzero(dense)
        m.count("sp.macs", vectors * macs)
        m.count("sp.macs_float", vectors * macs if fmt.kind is ValueKind.FLOAT else 0)
        m.count("sp.macs_skipped", vectors * (dense.size - macs))
        m.count("sp.zeros_stored", vectors * (len(slots.rows) - macs))
        yield first, dense, stored
