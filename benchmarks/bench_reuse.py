"""Speed of products with matrices as centres and differences, one thread, beside `lut.mac` of the plain weights.

Prints one JSON object. A product is `lut.mac` of the centres, `lut.reuse` and `lut.mac` of the differences in buffer mode, as
`--reuse` makes it, of pieces of 64 columns. Weights lie in flash, as those of a model do; what is counted of them is remembered
behind the first product. `gigabytes_per_second` counts the bytes that are stored; `of_bandwidth` is their share of the rate at
which the host reads as many, measured in turns; `of_plain` how many times as fast as the plain product it is.
"""

from __future__ import annotations

import json

import numpy as np

from benchmarks.in_flash import InFlash
from compiler.formats.reuse import CENTRES, COLUMNS, REUSED, cluster

ROWS, COLS, TURNS = 8192, 8192, 40                  # short runs: on a busy host others get their turn in a long one
PIECES = COLS // COLUMNS

REUSE = """
        li      a0, {x}
        li      a1, {scale}
        li      s1, {room}
        li      s2, {acc}
        csrwi   lut.shift, 0
        li      t0, {pieces}
        csrw    lut.pieces, t0
        li      t0, {centres}
        csrw    lut.centres, t0
        li      a2, {columns}
        li      t0, {pieces}
        csrw    lut.vectors, t0
        csrwi   lut.mode, 0
        lut.build.i8 a0, a1, a2
        csrwi   lut.vectors, 0
        li      a3, {sums_size}
        vec.fill.32 s1, zero, a3
        sync.fence
        li      a3, {of_centres}
        li      a4, {centres}
        lut.mac.{form} s1, a3, a4
        li      a4, {assigned}
        li      a5, {rows}
        lut.reuse.u8 s2, s1, a4, a5
        li      a2, {cols}
        lut.build.i8 a0, a1, a2
        csrwi   lut.mode, 1
        csrwi   lut.shift, {shift}
        li      a4, {weights}
        lut.mac.{differences} s2, a4, a5
        csrwi   lut.shift, 0
        sync.fence
"""
PLAIN = """
        li      a0, {x}
        li      a1, {scale}
        li      a2, {cols}
        lut.build.i8 a0, a1, a2
        li      s2, {acc}
        li      a4, {weights}
        li      a5, {rows}
        lut.mac.{form} s2, a4, a5
"""


def figures(form: str) -> dict[str, float]:
    """Of random weights of a format."""
    reuse = REUSED[form]
    codes = np.random.default_rng(0).choice(np.array(reuse.format.levels, np.int8), (ROWS, COLS))
    found = cluster(codes, COLUMNS)
    differences = reuse.differences.packing.pack(found.differences(codes) >> reuse.shift)
    parts = {"weights": differences, "of_centres": reuse.centres.packing.pack(found.centres), "assigned": found.assigned}
    made = InFlash(REUSE, parts, COLS, rows=ROWS, pieces=PIECES, columns=COLUMNS, centres=CENTRES, sums_size=PIECES * CENTRES,
                   form=reuse.centres, differences=reuse.differences, shift=reuse.shift)
    plain = InFlash(PLAIN, {"weights": reuse.format.packing.pack(codes)}, COLS, rows=ROWS, form=form)
    for each in (made, plain):
        assert np.array_equal(each.sums(ROWS), (codes.astype(np.float32) @ each.x).astype(np.int64)), "another result"
    turns = [(made.seconds(), made.reading(), plain.seconds()) for _ in range(TURNS)]
    seconds, reading, dense = (min(column) for column in zip(*turns, strict=True))
    return {"gigabytes_per_second": made.bytes / seconds / 1e9, "of_bandwidth": reading / seconds, "of_plain": dense / seconds,
            "stored_of_plain": made.bytes / plain.bytes}


if __name__ == "__main__":
    print(json.dumps({form: figures(form) for form in ("b1", "t2")}, indent=2))
