"""The product with the vocabulary's head for all tokens of a chunk, a part of the vocabulary at a time.

    for each part:  products with its rows, for all tokens: to their frames (PART), in which nothing else is needed any more
                    from there behind the parts before, of each token, in CHUNK_LOGITS outside the scratchpad

Frames have no room for whole logits, and the units need not reach the memory where these go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from compiler.lowering.chunk import SHOWN_FRAME, SHOWN_TO, SHOWN_TOKENS
from compiler.lowering.emit import Source, number
from compiler.lowering.profile import TEXTS
from compiler.lowering.tiles import Size, Tile, Way, tiles
from compiler.placing.memory_plan import CHUNK_LOGITS, PART

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering


@contextmanager
def parts(c: Lowering, unit: str, rows: int, matrix: Sequence[tuple[Source, Size]], results: Source, *, fetch: bool,
          most: int) -> Iterator[Tile]:
    """A loop over parts, as Lowering.tiles makes one over tiles: behind its block the results of a part are copied.

    matrix   (address, size) of the head, then of what lies beside it
    results  where they begin in a frame
    fetch    rows are fetched; most: of a part, if the unit takes no more; 0: any number
    """
    room = c.memory.slots[PART].size // 4
    most = min(most or room, room)
    c.emit.line(f"la a6, {CHUNK_LOGITS};  sd a6, {SHOWN_TO}, a7")
    if not fetch and rows <= most:
        yield Tile(matrix[0][0], number(rows), [results], [address for address, _ in matrix[1:]])
        _give(c, number(rows))
        return
    with tiles(c, unit, rows, matrix, [(results, 0)], Way("", fetch, most)) as tile:
        yield tile
        _give(c, tile.rows)
        if not fetch:                       # else the next part is fetched behind this copy, and the unit waits for that
            c.emit.fence()


def _give(c: Lowering, rows: Source) -> None:
    """Copy the logits of a part, of so many rows, from the frames behind the parts before. Overwrites a6 and a7."""
    e = c.emit
    with e.taken(3) as (frames, tokens, to):
        e.csr("fetch.src_stride", c.memory.frame_bytes)
        e.csr("fetch.dst_stride", 4 * c.graph.config.vocab)
        if isinstance(rows, str):
            e.line(f"slli a6, {rows}, 2")
            with e.profile.known("a6", 4, rows):
                e.csr("fetch.row_bytes", "a6")
        else:
            e.csr("fetch.row_bytes", 4 * int(rows.value))
        e.line(f"ld {frames}, {SHOWN_FRAME};  ld {tokens}, {SHOWN_TOKENS};  ld {to}, {SHOWN_TO}")
        e.advance(frames, c.memory.slots[PART].offset - c.memory.frames)
        with e.profile.known(tokens, 1, TEXTS):
            e.op("fetch.copy2d", to, frames, tokens, reads=(PART,), writes=(CHUNK_LOGITS,), near=True,
                 comment="of each token, behind the parts before")
        if isinstance(rows, str):
            e.line(f"slli a6, {rows}, 2;  add {to}, {to}, a6")
        else:
            e.advance(to, 4 * int(rows.value))
        e.line(f"sd {to}, {SHOWN_TO}, a7")
