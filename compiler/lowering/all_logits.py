"""The logits of every token of a chunk, if the host asks for them (`all_logits`): the head is read once for all of them.

    the end of the model up to the product with the head, in groups as layers are; the product in parts (logit_parts.py)
    for each token what is behind the product, if there is something; then the host looks

Where the memory outside has room for the logits of fewer tokens than a chunk has, this is done for so many at a time.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.graph.groups import head_product
from compiler.lowering.chunk import SHOWN_FRAME, SHOWN_TOKENS, each_frame
from compiler.lowering.emit import number
from compiler.lowering.layers import grouped, operations, strides
from compiler.lowering.lower import Lowering
from compiler.placing.memory_plan import CHUNK_LOGITS, PART
from isa.services import SHOW


def all_logits(c: Lowering) -> None:
    """In code for a chunk, whose layers are done: show the logits of its tokens, `chunk_tokens` from `shown_frame` on. Then it goes
    on behind."""
    e, memory, finish, product = c.emit, c.memory, c.graph.finish, head_product(c.graph)
    assert product is not None
    e.lines.append(f"\n# ---- the logits of all tokens, if the host wants them: the head is read once for {memory.shown} of them")
    e.label("all_wanted")
    strides(c, memory.frame_bytes)
    e.label("next_shown")
    e.line(f"ld a6, chunk_tokens;  li a7, {memory.shown};  bgeu a7, a6, 1f;  mv a6, a7")
    e.mark("1")
    e.line(f"sd a6, {SHOWN_TOKENS}, a7")
    c.shown = True
    with e.profile.section("chunk_finish"):
        grouped(c, "finish", [*finish[:product], replace(finish[product], outputs=(PART,))])
        _show(c, product + 1)
    c.shown = False
    e.line(f"ld a6, {SHOWN_FRAME};  ld a5, {SHOWN_TOKENS};  li a7, {memory.frame_bytes};  mul a7, a7, a5")
    e.line(f"add a6, a6, a7;  sd a6, {SHOWN_FRAME}, a7")
    e.line("ld a6, chunk_tokens;  sub a6, a6, a5;  sd a6, chunk_tokens, a7;  beqz a6, 1f;  j next_shown")
    e.mark("1")
    strides(c, 0)


def _show(c: Lowering, behind: int) -> None:
    """Show the logits of each token, behind the operations from number `behind` on."""
    e, vocab, last = c.emit, c.graph.config.vocab, c.graph.finish[behind:]
    e.comment("the host looks at the logits of one token after the other")
    with e.reserved("a0", "a1"), e.taken(1) as (row,):
        e.line(f"la {row}, {CHUNK_LOGITS}")
        with each_frame(c):
            if last:
                e.op("fetch.copy", c.at("logits"), row, number(4 * vocab), reads=(CHUNK_LOGITS,), writes=("logits",), near=False)
                operations(c, "finish", last, behind)
            e.fence()
            e.line("la a0, logits" if last else f"mv a0, {row}")
            e.line(f"li a1, {vocab};  li a7, {SHOW};  ecall")
            e.advance(row, 4 * vocab)
    c.built = ""
