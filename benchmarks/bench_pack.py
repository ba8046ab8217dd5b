"""Speed of packed chunks, one thread: `fetch.unpack`, and `lut.mac` of what it unpacks, beside `lut.mac` of the plain weights.

Prints one JSON object by kind of weights and length of a chunk. Weights lie in flash, as those of a model do. They are unpacked in
tiles, as a compiled program does it, and each tile is multiplied. `gigabytes_per_second` counts the bytes that are stored and
`unpacked` those that are made of them, both of unpacking alone; `of_bandwidth` is the share of the rate at which the host reads
these bytes, measured in turns. `product_of_bandwidth` is that of unpacking with products, `product_of_plain` how
many times as fast as the plain product they are. `stored_of_plain` is the bytes stored, over those of the plain weights.

The weights are random: `t2`, a third of them zeros, and `t2 pruned`, four of five; `i8 of ternary`, ternary weights in bytes.
"""

from __future__ import annotations

import json

import numpy as np

from benchmarks.in_flash import InFlash
from compiler.formats.packed import chunk_bytes, pack
from compiler.formats.weight_format import WEIGHT_FORMATS

COLS, TURNS = 8192, 30                                      # short runs: on a busy host others get their turn in a long one
PLAIN_BYTES, TILE_BYTES = 1 << 24, 1 << 16
KINDS = {"t2": ("t2", 1 / 3), "t2 pruned": ("t2", 0.8), "i8 of ternary": ("i8", 1 / 3)}

UNPACK = """
        li      t0, {table}
        csrw    fetch.chunk_table, t0
        li      t0, {chunks}
        csrw    fetch.table_rows, t0
        csrwi   fetch.chunk_bytes, {size}
        li      t0, {row_bytes}
        csrw    fetch.row_bytes, t0
        csrwi   fetch.tag, 1
        li      a0, {x}
        li      a1, {scale}
        li      a2, {cols}
        lut.build.i8 a0, a1, a2
        li      s0, {tiles}
        li      s1, {room}
        li      s2, {stream}
        li      s3, {tile_rows}
        li      s4, {acc}
        li      s5, 4 * {tile_rows}
        li      t1, 1
1:      fetch.unpack s2, s1, s2, s3
        {product}
        add     s4, s4, s5
        addi    s0, s0, -1
        bnez    s0, 1b
"""
PLAIN = """
        li      a0, {x}
        li      a1, {scale}
        li      a2, {cols}
        lut.build.i8 a0, a1, a2
        li      a3, {acc}
        li      a4, {weights}
        li      a5, {rows}
        lut.mac.{form} a3, a4, a5
"""


def figures(kind: str, weights: int) -> dict[str, float] | None:
    """Of random weights of a kind, in chunks of so many. None: there are too many chunks."""
    name, zeros = KINDS[kind]
    form, random = WEIGHT_FORMATS[name], np.random.default_rng(0)
    row_bytes = form.packing.fields[0] * COLS // 8
    rows, size = PLAIN_BYTES // row_bytes, chunk_bytes(form, weights)
    codes = random.choice(np.array([-1, 0, 1], np.int8), (rows, COLS), p=[(1 - zeros) / 2, zeros, (1 - zeros) / 2])
    plain = form.packing.pack(codes).reshape(rows, row_bytes)
    packed = pack(plain, size)
    if packed is None:
        return None
    tile_rows = TILE_BYTES // row_bytes
    words = {"chunks": len(packed.table), "size": size, "row_bytes": row_bytes, "tiles": rows // tile_rows, "tile_rows": tile_rows}
    parts = {"stream": packed.stream, "table": packed.table}
    alone = InFlash(UNPACK, parts, COLS, product="", **words)
    product = InFlash(UNPACK, parts, COLS, product=f"lut.mac.{name} s4, s1, s3", **words)
    whole = InFlash(PLAIN, {"weights": plain}, COLS, form=name, rows=rows)
    assert np.array_equal(product.sums(rows), whole.sums(rows)), "another result"
    turns = [(alone.seconds(), alone.reading(), product.seconds(), whole.seconds()) for _ in range(TURNS)]
    unpacking, read, with_product, dense = (min(column) for column in zip(*turns, strict=True))
    return {"stored_of_plain": packed.size / plain.size, "gigabytes_per_second": alone.bytes / unpacking / 1e9,
            "unpacked": plain.size / unpacking / 1e9, "reading": alone.bytes / read / 1e9, "of_bandwidth": read / unpacking,
            "product_of_bandwidth": read / with_product, "product_of_plain": dense / with_product}


if __name__ == "__main__":
    found = {f"{kind}, chunks of {weights}": figures(kind, weights) for kind in KINDS for weights in (4, 8)}
    print(json.dumps({name: each for name, each in found.items() if each}, indent=2))
