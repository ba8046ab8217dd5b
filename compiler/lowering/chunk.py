"""Loops over the tokens of a chunk. The frame of the first token is at `frames`; `chunk_tokens` says how many tokens there are.

FRAME has the address of the frame of the current token, or of the first of those that an operation works on together. Lowering.at
gives the addresses of values relative to it. The tokens of a frame may belong to several sequences (batch.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from compiler.graph import Op
from compiler.lowering import turns
from compiler.lowering.emit import FRAME, KEYS, KV_OFFSET, POSITION, POSITIONS, ROPE_ROW, TOKEN, TOKENS_LEFT, VALUES, Source, number
from compiler.lowering.profile import TEXTS
from compiler.placing.memory_plan import HEAD, HEAD_BYTES, WITH_SEQUENCE
from compiler.placing.weights import ROPE

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering

SEQUENCE, KEYS_BEHIND, VALUES_BEHIND = 8, 16, 24        # in the head of a frame
SHOWN_FRAME, SHOWN_TOKENS, SHOWN_TO = "shown_frame", "shown_tokens", "shown_to"
"""The first frame of the tokens whose logits are computed now; how many these are; where the next part of the first one's goes."""
_AT_POSITION = ("embedding", "rope", "append", "scores", "softmax", "context", "scale.heads", "sum.squares",
                "choose", "cluster", "mean.query")
"""Kinds, or their first words, that look at the token, its position or a cache."""


@contextmanager
def each_frame(c: Lowering, most: int = 1, *, of_one: bool = False) -> Iterator[Source]:
    """What is emitted inside is done for all tokens of the chunk, `most` at a time: yields how many. All at once need no loop.
    `of_one`: those at a time belong to one sequence, and the registers of caches are those of it.

    Where two halves of a chunk take turns, it is done for those of the half; at the end of the model for those that are shown."""
    e = c.emit
    first, tokens = ((turns.FRAMES, turns.TOKENS) if c.turns else (SHOWN_FRAME, SHOWN_TOKENS) if c.shown else ("", "chunk_tokens"))
    e.line(f"ld {FRAME}, {first}" if first else f"la {FRAME}, frames", "of the first token of the chunk")
    e.changed(FRAME)
    of_one = of_one and c.memory.sequences > 1
    if most >= c.memory.chunk and not of_one:
        with e.taken(1) as (here,), e.profile.known(here, 1, TEXTS):
            e.line(f"ld {here}, {tokens}")
            yield here
        return
    e.line(f"ld {TOKENS_LEFT}, {tokens}")
    name = c.name("tokens")
    e.label(name)
    if most == 1 and not of_one:
        with e.profile.tiles(TOKENS_LEFT, TEXTS, 1):
            yield number(1)
        e.advance(FRAME, c.memory.frame_bytes)
        e.line(f"addi {TOKENS_LEFT}, {TOKENS_LEFT}, -1")
    else:
        with e.taken(1) as (here,):
            e.at_most(here, most, TOKENS_LEFT, "tokens at once")
            if of_one:
                _of_one(c, here)
                _move_caches(c, "add", "to those of the sequence")
            with e.profile.tiles(here, TEXTS, most):
                yield here
            if of_one:
                _move_caches(c, "sub", "back to those of the first one")
            e.advance_rows(FRAME, here, c.memory.frame_bytes)
            e.line(f"sub {TOKENS_LEFT}, {TOKENS_LEFT}, {here}")
    e.changed(FRAME)
    e.line(f"beqz {TOKENS_LEFT}, 1f;  j {name}")
    e.mark("1")


def _of_one(c: Lowering, here: str) -> None:
    """Of as many tokens as a register says, from FRAME on, those that belong to the sequence of the first one."""
    e, own = c.emit, head(c) + SEQUENCE
    with e.taken(3) as (frame, count, of):
        e.line(f"mv {frame}, {FRAME};  li {count}, 0;  ld {of}, {own}({FRAME})", "tokens of one sequence")
        e.mark("1")
        e.advance(frame, c.memory.frame_bytes)
        e.line(f"addi {count}, {count}, 1;  beq {count}, {here}, 2f")
        e.line(f"ld a6, {own}({frame});  beq a6, {of}, 1b")
        e.mark("2")
        e.line(f"mv {here}, {count}")


def at_position(c: Lowering) -> None:
    """Set the registers that follow from POSITION."""
    at_row(c)
    at_place(c)


def at_row(c: Lowering) -> None:
    """Set those of the row of caches that POSITION says."""
    e, config = c.emit, c.graph.config
    e.line(f"addi {POSITIONS}, {POSITION}, 1", "positions that attention looks at")
    if config.window:
        e.line(f"li a6, {config.window};  ble {POSITIONS}, a6, 1f;  mv {POSITIONS}, a6")
        e.mark("1")
    e.line(f"li a6, {c.memory.caches['values'].row_bytes}")
    e.line(f"mul {KV_OFFSET}, {POSITION}, a6", "bytes before this position's row of a cache")


def at_place(c: Lowering) -> None:
    """Set those of the place in the text that POSITION says."""
    e, config = c.emit, c.graph.config
    if config.rope:
        e.line(f"li a6, {4 * config.head_dim};  mul {ROPE_ROW}, {POSITION}, a6")
        e.line(f"add {ROPE_ROW}, {ROPE_ROW}, {e.register(c.weight(ROPE))}")


def head(c: Lowering) -> int:
    """Where in a frame its head is: token and position, u32 each. Then, where there are several sequences, the number of its
    sequence and how far behind the first one's its keys and values are, u64 each; where prompts are cut, its row in caches, u32."""
    return c.memory.slots[HEAD].offset - c.memory.frames


def row(c: Lowering) -> int:
    """Where in a frame the row of its token in caches is, where prompts are cut."""
    return head(c) + HEAD_BYTES + WITH_SEQUENCE * (c.memory.sequences > 1)


def take_place(c: Lowering, ops: Sequence[Op]) -> None:
    """In a loop over frames: the registers of the frame's token, position and sequence, if these operations look at them."""
    if _looks(ops):
        c.emit.framed(f"lwu {TOKEN}, {head(c)}({FRAME});  lwu {POSITION}, {head(c) + 4}({FRAME})", 8)
        if c.graph.cuts:
            at_place(c)
            c.emit.framed(f"lwu {POSITION}, {row(c)}({FRAME})", 4, "its row in the caches of these layers")
            at_row(c)
        else:
            at_position(c)
        _move_caches(c, "add", "to those of the frame's sequence")


def leave_place(c: Lowering, ops: Sequence[Op]) -> None:
    """The end of what `take_place` began."""
    if _looks(ops):
        _move_caches(c, "sub", "back to those of the first one")


def _looks(ops: Sequence[Op]) -> bool:
    return any(op.kind.startswith(_AT_POSITION) for op in ops)


def _move_caches(c: Lowering, change: str, comment: str) -> None:
    if c.memory.sequences > 1:
        for place, base in ((KEYS_BEHIND, KEYS), (VALUES_BEHIND, VALUES)):
            c.emit.framed(f"ld a6, {head(c) + place}({FRAME});  {change} {base}, {base}, a6", 8, comment)
            c.emit.changed(base)
