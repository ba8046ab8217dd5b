"""The prompt of a program with cuts: all of it goes through the layers in front of a cut before any of it goes on.

    the prompt's tokens in chunks       the start of the model; hidden states and places wait in `waiting` and `places`
    for each segment of layers          chunk by chunk: from there to frames, through the layers, and back
    a cut                               where more tokens are left than its budget: the operations of the graph (cuts.py)
    the last token                      goes on in the first frame, as in other programs

A token behind the prompt has the next row of the caches of each segment: rows of a segment are fewer than places by `left_out`.

Of several texts side by side (batch.py) the prompts go through all of this one after the other. The hidden state of the last token
of each waits in PROMPT_ENDS. A step goes through the segments with the code of a chunk: `stepping` says so where a segment ends.
"""

from __future__ import annotations

from compiler.lowering import residency, swaps
from compiler.lowering.chunk import KEYS_BEHIND, SEQUENCE, VALUES_BEHIND, each_frame, head, row
from compiler.lowering.cuts import left_out
from compiler.lowering.emit import FRAME, LAYERS_LEFT, POSITION, TOKEN, TOKENS_LEFT, number, symbol
from compiler.lowering.layers import bodies, grouped, operations, strides, to_first_frame
from compiler.lowering.lower import Lowering
from compiler.passes.prune_tokens import PLACES, PROMPT_ENDS, WAITING
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
        _last_frame(c, "the last token goes on in the first frame")
        to_first_frame(c)
        e.line(f"ld {POSITION}, prompt_length;  addi {POSITION}, {POSITION}, -1")
        e.line("j logits_wanted")
        layers_of_chunks(c)
    c.chunk = False


def layers_of_chunks(c: Lowering) -> None:
    """The code of layers for a chunk. Tables say where it goes on."""
    c.emit.lines.append("\n# ---- layers, for a chunk")
    c.emit.forget()
    bodies(c)


def _last_frame(c: Lowering, comment: str) -> None:
    """FRAME becomes that of the last token of the chunk."""
    e = c.emit
    with e.taken(2) as (last, size):
        e.line(f"ld {last}, chunk_tokens;  addi {last}, {last}, -1", comment)
        e.line(f"li {size}, {c.memory.frame_bytes};  mul {last}, {last}, {size}")
        e.line(f"la {FRAME}, frames;  add {FRAME}, {FRAME}, {last}")


# ------------------------------------------------------------------------------------------------ several texts


def prompt_of_text(c: Lowering) -> None:
    """The whole prompt of the text whose number is at `sequence`. Then POSITION is the place of its last token.

    Goes on at `prompt_full` where the context has no room for all of it, and a token of it is read already."""
    e = c.emit
    e.line("li a6, 1;  sd a6, prompt_left, a7;  sd zero, tokens_alive, a7")
    _read(c)
    for number_of in range(len(c.graph.segments)):
        _segment(c, number_of)
    _last_frame(c, "the last token waits for those of the other texts")
    with e.taken(1) as (to,):
        _end_of(c, to, "ld a6, sequence")
        e.op("fetch.copy", to, c.at("x"), number(4 * c.graph.config.dim), reads=("x",), near=True)
    e.fence()
    e.line(f"{_load(c, 'a6', 'prompt_length')};  addi {POSITION}, a6, -1")


def step(c: Lowering) -> None:
    """The tokens of a step, which are in frames, go through all layers, segment by segment. Goes on at `choose_tokens`.

    In the first step they are the last tokens of prompts, and have been there."""
    e, memory, graph = c.emit, c.memory, c.graph
    e.line("ld a6, stepping;  bnez a6, chunk_start", "to the code of a chunk, which comes back to segment 0")
    e.line("li a6, 1;  sd a6, stepping, a7;  li a6, -1;  sd a6, query_from, a7", "no query counts any more")
    with each_frame(c), e.taken(1) as (at,):
        _end_of(c, at, f"ld a6, {head(c) + SEQUENCE}({FRAME})")
        e.op("fetch.copy", c.at("x"), at, number(4 * c.graph.config.dim), writes=("x",), near=False)
    e.fence()
    e.line("j choose_tokens")
    for number_of in range(len(graph.segments)):
        e.label(f"step_segment{number_of}")
        if not number_of:
            e.fence()
        else:
            e.line("la a2, frames;  ld a3, chunk_tokens;  la a4, " + left_out(graph)[number_of])
            e.mark("1")
            e.line(f"ld a0, {head(c) + SEQUENCE}(a2);  slli a6, a0, 3;  add a6, a6, a4;  ld a6, 0(a6)")
            e.line(f"lwu a1, {head(c) + 4}(a2);  sub a1, a1, a6;  sw a1, {row(c)}(a2)", "its row in caches of these layers")
            if memory.rows:
                for place, base in ((KEYS_BEHIND, "keys"), (VALUES_BEHIND, "values")):
                    e.line(f"li a6, {memory.part_size(base, graph.segments[number_of][0])};  mul a6, a6, a0")
                    e.line(f"sd a6, {head(c) + place}(a2)", f"its {base} behind those of the first text")
            e.line(f"li a6, {memory.frame_bytes};  add a2, a2, a6;  addi a3, a3, -1;  bnez a3, 1b")
            e.forget()
        _enter(c, number_of)


def _end_of(c: Lowering, to: str, number_of: str) -> None:
    """The place in PROMPT_ENDS of a text, in a register; `number_of` loads its number to a6."""
    c.emit.line(f"{number_of};  li a7, {4 * c.graph.config.dim};  mul a6, a6, a7;  la {to}, {PROMPT_ENDS};  add {to}, {to}, a6")


def _load(c: Lowering, to: str, name: str) -> str:
    """Code that loads a variable of the text whose prompt goes through the layers."""
    return f"ld {to}, {name}" if c.memory.sequences == 1 else f"{_address(name)};  ld {to}, 0(a5)"


def _save(c: Lowering, register: str, name: str) -> str:
    """Code that stores to it."""
    return f"sd {register}, {name}, a5" if c.memory.sequences == 1 else f"{_address(name)};  sd {register}, 0(a5)"


def _address(name: str) -> str:
    return f"ld a5, sequence;  slli a5, a5, 3;  la a4, {name};  add a5, a5, a4"


# ------------------------------------------------------------------------------------------------ a prompt


def _read(c: Lowering) -> None:
    """Tokens, and the start of the model for a chunk of them, until the prompt ends."""
    e, memory, config, alone = c.emit, c.memory, c.graph.config, c.memory.sequences == 1
    e.label("chunk")
    e.line(f"la {FRAME}, frames;  li {TOKENS_LEFT}, 0", "tokens of this chunk so far")
    e.label("taken")
    e.line(f"li a6, {config.vocab};  bgeu {TOKEN}, a6, bad_token")
    e.line(f"sw {TOKEN}, {head(c)}({FRAME});  sw {POSITION}, {head(c) + 4}({FRAME})", "a frame begins with its token and position")
    e.line(f"sw {POSITION}, {row(c)}({FRAME})", "which is its row too, so far")
    e.line(f"la a6, {PLACES};  slli a7, {POSITION}, 2;  add a6, a6, a7;  sw {POSITION}, 0(a6)")
    e.line(f"addi {TOKENS_LEFT}, {TOKENS_LEFT}, 1;  addi {POSITION}, {POSITION}, 1")
    if alone:
        e.line(f"ld a6, prompt_tokens;  bgeu {POSITION}, a6, prompt_ends", "the host says how long the prompt is")
    e.line(f"li a7, {READ_TOKEN};  ecall;  bltz a0, prompt_ends")
    e.line(f"li a6, {memory.context};  beq {POSITION}, a6, {'finished' if alone else 'prompt_full'}", "the context is full")
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
    if not alone:
        e.label("chunk_start")
    strides(c, memory.frame_bytes, "from one token's vector to the next one's")
    grouped(c, "start", c.graph.start)
    if not alone:
        e.line("ld a6, stepping;  bnez a6, step_segment0")
    _move(c, back=True)
    e.line("ld a6, prompt_left;  beqz a6, prompt_read")
    e.line(f"ld {TOKEN}, next_token;  ld {POSITION}, tokens_alive;  j chunk")
    e.label("prompt_read")
    e.line(f"ld a6, tokens_alive;  {_save(c, 'a6', 'prompt_length')}")


def _segment(c: Lowering, number_of: int) -> None:
    """The layers between two cuts for all tokens that are left, and the cut behind them."""
    e, memory, graph = c.emit, c.memory, c.graph
    layers, cut = graph.segments[number_of], graph.cuts[number_of] if number_of < len(graph.cuts) else None
    e.lines.append(f"\n# ---- layers {layers[0]} to {layers[-1]}, all tokens that are left")
    e.label(f"segment{number_of}")
    e.line("sd zero, first_row, a6")
    e.line(f"{_load(c, 'a6', 'prompt_length')};  ld a7, tokens_alive;  sub a6, a6, a7")
    e.line(_save(c, "a6", left_out(graph)[number_of]))
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
    _heads(c, number_of)
    _move(c, back=False)
    _enter(c, number_of)
    e.label(f"chunk_segment{number_of}_done")
    if memory.sequences > 1:
        e.line("ld a6, stepping;  bnez a6, " + (f"step_segment{number_of + 1}" if cut else "choose_tokens"))
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


def _enter(c: Lowering, number_of: int) -> None:
    """To the code of the first layer of a segment."""
    e, graph, layers = c.emit, c.graph, c.graph.segments[number_of]
    residency.start_of(c, layers[0])
    c.target.enter_layers(c, layers[0])
    swaps.begin(c, layers)
    first = residency.table(graph, c.memory, chunk=True).index(
        f"chunk_segment{number_of - 1}_done") + 1 if number_of else 0
    e.line(f"la {LAYERS_LEFT}, chunk_layers + {8 * first};  ld a6, 0({LAYERS_LEFT});  jr a6", "its code, in a table")


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


def _heads(c: Lowering, number_of: int) -> None:
    """Fill the heads of frames: the place and the row of each token of the chunk, and whose it is."""
    e, at, several = c.emit, head(c), c.memory.sequences > 1
    e.line(f"la a0, {PLACES};  ld a1, first_row;  slli a2, a1, 2;  add a0, a0, a2;  la a2, frames")
    e.line(f"ld a3, chunk_tokens;  li a4, {c.memory.frame_bytes}")
    behind = (("t0", KEYS_BEHIND, "keys"), ("t1", VALUES_BEHIND, "values")) if several else ()
    if several:
        e.line("ld a7, sequence")
    for register, _, base in behind:
        e.line(f"li a6, {c.memory.part_size(base, c.graph.segments[number_of][0])};  mul {register}, a6, a7")
    e.mark("1")
    e.line(f"lw a5, 0(a0);  sw a5, {at + 4}(a2);  sw a1, {row(c)}(a2)", "its place in the text, and its row in caches")
    if several:
        e.line(f"sd a7, {at + SEQUENCE}(a2)" + "".join(f";  sd {register}, {at + place}(a2)" for register, place, _ in behind))
    e.line("addi a0, a0, 4;  addi a1, a1, 1;  add a2, a2, a4;  addi a3, a3, -1;  bnez a3, 1b")
    e.forget()
