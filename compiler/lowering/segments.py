"""The prompt of a program with cuts: all of it goes through the layers in front of a cut before any of it goes on.

    the prompt's tokens in chunks       the start of the model; hidden states and places wait in `waiting` and `places`
    for each segment of layers          chunk by chunk: from there to frames, through the layers, and back
    a cut                               where more tokens are left than its budget: the operations of the graph (cuts.py)
    the last token                      goes on in the first frame, as in other programs

A token behind the prompt has the next row of the caches of each segment: rows of a segment are fewer than places by `left_out`.
"""

from __future__ import annotations

from compiler.lowering import residency, swaps
from compiler.lowering.chunk import ROW, head
from compiler.lowering.cuts import left_out
from compiler.lowering.emit import FRAME, LAYERS_LEFT, POSITION, TOKEN, TOKENS_LEFT, symbol
from compiler.lowering.layers import bodies, grouped, operations, strides, to_first_frame
from compiler.lowering.lower import Lowering
from compiler.passes.prune_tokens import PLACES, WAITING
from isa.services import READ_TOKEN


def prompt(c: Lowering) -> None:
    """The whole prompt. Then its last token is in the first frame, and POSITION says its place. Goes on at `logits_wanted`."""
    e, memory, graph = c.emit, c.memory, c.graph
    e.lines.append(f"\n# ---- the prompt, up to {memory.chunk} tokens at a time")
    c.chunk = True
    with e.reserved(FRAME, TOKENS_LEFT):
        _read(c)
        for number_of in range(len(graph.segments)):
            _segment(c, number_of)
        e.lines.append("\n# ---- behind the prompt")
        strides(c, 0)
        with e.taken(2) as (last, size):
            e.line(f"ld {last}, chunk_tokens;  addi {last}, {last}, -1", "the last token goes on in the first frame")
            e.line(f"li {size}, {memory.frame_bytes};  mul {last}, {last}, {size}")
            e.line(f"la {FRAME}, frames;  add {FRAME}, {FRAME}, {last}")
        to_first_frame(c)
        e.line(f"ld {POSITION}, prompt_length;  addi {POSITION}, {POSITION}, -1")
        e.line("j logits_wanted")
        e.lines.append("\n# ---- layers, for a chunk")
        e.forget()
        bodies(c)
    c.chunk = False


def _read(c: Lowering) -> None:
    """Tokens, and the start of the model for a chunk of them, until the prompt ends."""
    e, memory, config = c.emit, c.memory, c.graph.config
    e.label("chunk")
    e.line(f"la {FRAME}, frames;  li {TOKENS_LEFT}, 0", "tokens of this chunk so far")
    e.label("taken")
    e.line(f"li a6, {config.vocab};  bgeu {TOKEN}, a6, bad_token")
    e.line(f"sw {TOKEN}, {head(c)}({FRAME});  sw {POSITION}, {head(c) + 4}({FRAME})", "a frame begins with its token and position")
    e.line(f"sw {POSITION}, {head(c) + ROW}({FRAME})", "which is its row too, so far")
    e.line(f"la a6, {PLACES};  slli a7, {POSITION}, 2;  add a6, a6, a7;  sw {POSITION}, 0(a6)")
    e.line(f"addi {TOKENS_LEFT}, {TOKENS_LEFT}, 1;  addi {POSITION}, {POSITION}, 1")
    e.line(f"ld a6, prompt_tokens;  bgeu {POSITION}, a6, prompt_ends", "the host says how long the prompt is")
    e.line(f"li a7, {READ_TOKEN};  ecall;  bltz a0, prompt_ends")
    e.line(f"li a6, {memory.context};  beq {POSITION}, a6, finished", "the context is full")
    e.line("sd a0, next_token, a6", "it is for this chunk, or for the next one")
    e.line(f"li a6, {memory.chunk};  beq {TOKENS_LEFT}, a6, chunk_full")
    e.line(f"mv {TOKEN}, a0")
    e.advance(FRAME, memory.frame_bytes)
    e.line("j taken")
    e.label("prompt_ends")
    e.line("sd zero, prompt_left, a6")
    e.label("chunk_full")
    e.line(f"sd {TOKENS_LEFT}, chunk_tokens, a6;  sd {POSITION}, tokens_alive, a6")
    e.line(f"sub a6, {POSITION}, {TOKENS_LEFT};  sd a6, first_row, a7")
    strides(c, memory.frame_bytes, "from one token's vector to the next one's")
    grouped(c, "start", c.graph.start)
    _move(c, back=True)
    e.line("ld a6, prompt_left;  beqz a6, prompt_read")
    e.line(f"ld {TOKEN}, next_token;  ld {POSITION}, tokens_alive;  j chunk")
    e.label("prompt_read")
    e.line("ld a6, tokens_alive;  sd a6, prompt_length, a7")


def _segment(c: Lowering, number_of: int) -> None:
    """The layers between two cuts for all tokens that are left, and the cut behind them."""
    e, memory, graph = c.emit, c.memory, c.graph
    layers, cut = graph.segments[number_of], graph.cuts[number_of] if number_of < len(graph.cuts) else None
    e.lines.append(f"\n# ---- layers {layers[0]} to {layers[-1]}, all tokens that are left")
    e.label(f"segment{number_of}")
    e.line("sd zero, first_row, a6")
    e.line(f"ld a6, prompt_length;  ld a7, tokens_alive;  sub a6, a6, a7;  sd a6, {left_out(graph)[number_of]}, a5")
    if cut:
        last = next((int(op.attributes["last"]) for body in graph.bodies if layers[-1] in body.layers for op in body.ops
                     if op.kind == "mean.query"), 0)
        e.line(f"li a5, -1;  li a6, {cut.budget};  bgeu a6, a7, 1f;  addi a5, a7, -{last}", "the first query that counts")
        e.mark("1")
        e.line("sd a5, query_from, a6")
    e.label(f"segment{number_of}_chunk")
    e.line(f"ld {TOKENS_LEFT}, tokens_alive;  ld a6, first_row;  sub {TOKENS_LEFT}, {TOKENS_LEFT}, a6")
    e.line(f"li a6, {memory.chunk};  bgeu a6, {TOKENS_LEFT}, 1f;  mv {TOKENS_LEFT}, a6")
    e.mark("1")
    e.line(f"sd {TOKENS_LEFT}, chunk_tokens, a6")
    _heads(c)
    _move(c, back=False)
    residency.start_of(c, layers[0])
    c.target.enter_layers(c, layers[0])
    swaps.begin(c, layers)
    first = residency.table(graph, memory, chunk=True).index(
        f"chunk_segment{number_of - 1}_done") + 1 if number_of else 0
    e.line(f"la {LAYERS_LEFT}, chunk_layers + {8 * first};  ld a6, 0({LAYERS_LEFT});  jr a6", "its code, in a table")
    e.label(f"chunk_segment{number_of}_done")
    c.built = ""
    if cut:
        _move(c, back=True)
    e.line("ld a6, first_row;  ld a7, chunk_tokens;  add a6, a6, a7;  sd a6, first_row, a7")
    e.line(f"ld a7, tokens_alive;  bltu a6, a7, segment{number_of}_chunk")
    if cut:
        e.line(f"li a6, {cut.budget};  bgeu a6, a7, segment{number_of + 1}", "all have room: nothing is left out")
        e.lines.append(f"\n# ---- before layer {cut.layer}: at most {cut.budget} tokens go on")
        c.cut, c.built = cut, ""
        operations(c, cut.name, cut.ops)
        e.fence()
        c.cut = None


def _move(c: Lowering, *, back: bool) -> None:
    """Hidden states of a chunk from where they wait to frames, or back; `first_row` is the first one's."""
    e, size = c.emit, 4 * c.graph.config.dim
    e.fence()
    for name, value in (("row_bytes", size), ("src_stride", c.memory.frame_bytes if back else 0),
                        ("dst_stride", 0 if back else c.memory.frame_bytes)):
        e.csr(f"fetch.{name}", value)
    e.line(f"la a7, {WAITING};  ld a5, first_row;  li a6, {size};  mul a5, a5, a6;  add a7, a7, a5")
    e.forget(csrs=False)
    frames = symbol(f"frames + {c.memory.slots['x'].offset - c.memory.frames}")
    with e.taken(1) as (count,):
        e.line(f"ld {count}, chunk_tokens")
        to, source = ("a7", frames) if back else (frames, "a7")
        e.op("fetch.copy2d", to, source, count, comment="hidden states " + ("wait" if back else "of a chunk"))
    e.fence()


def _heads(c: Lowering) -> None:
    """Fill the heads of frames: the place and the row of each token of the chunk."""
    e, at = c.emit, head(c)
    e.line(f"la a0, {PLACES};  ld a1, first_row;  slli a2, a1, 2;  add a0, a0, a2;  la a2, frames")
    e.line(f"ld a3, chunk_tokens;  li a4, {c.memory.frame_bytes}")
    e.mark("1")
    e.line(f"lw a5, 0(a0);  sw a5, {at + 4}(a2);  sw a1, {at + ROW}(a2)", "its place in the text, and its row in caches")
    e.line("addi a0, a0, 4;  addi a1, a1, 1;  add a2, a2, a4;  addi a3, a3, -1;  bnez a3, 1b")
    e.forget()
