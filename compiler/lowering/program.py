"""The whole program of a model as assembly: start-up, the loop over tokens, the loop over layers, sampling, the end.

It is written in the order in which it runs. The host fills the block at `parameters` before the run and gives the prompt token by
token. The program emits tokens until a stop token, `max_tokens`, or the end of the context. If `all_logits` is not 0, it computes
logits at every position of the prompt, shows them to the host, and ends there.

A prompt of several tokens runs in chunks (compiler/graph/groups.py): there is code for a chunk of tokens, whose layers are gone
through once, and code for one token, which goes on behind the last chunk. Where the scratchpad has no room for chunks there is only
the latter. A program for several sequences at once is another one: batch.py. Prompts that are cut: segments.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.lowering import Lowering, residency, segments, starc, think
from compiler.lowering.all_logits import all_logits
from compiler.lowering.batch import batch
from compiler.lowering.chunk import SHOWN_FRAME, at_position, head
from compiler.lowering.emit import FRAME, POSITION, TOKEN, TOKENS_LEFT, WEIGHTS
from compiler.lowering.layers import grouped, layers, operations, strides, to_first_frame
from compiler.lowering.profile import CHOICE, Profile
from compiler.lowering.sampling import Room, missing, sample
from compiler.lowering.tiles import start
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.weights import WeightLayout
from isa.services import EMIT_TOKEN, EXIT, READ_TOKEN, SHOW, WRITE
from isa.text import quoted

if TYPE_CHECKING:
    from compiler.targets.target import Target

EMPTY_PROMPT, BAD_TOKEN, NO_TOP_P = 2, 3, 4     # exit codes


def code(target: Target, layout: WeightLayout, memory: MemoryPlan, sampling: Room) -> tuple[str, Profile, Profile | None]:
    """The program's code, what it reads for one text, and what for several, if it is for several.

    Raises RoomError for a matrix of which no row fits into a tile.
    """
    c = Lowering(target, layout, memory)
    _begin(c)
    _token_loop(c, sampling)
    _end(c)
    if memory.sequences == 1:
        return "\n".join(c.emit.lines) + "\n", c.emit.profile, None
    several = Lowering(target, layout, memory)
    _begin(several)
    batch(several, sampling)
    _end(several)
    return "\n".join(several.emit.lines) + "\n", c.emit.profile, several.emit.profile


def _begin(c: Lowering) -> None:
    """Start-up: registers, buffers, units, what stays in the scratchpad."""
    e = c.emit
    e.lines += ["    .section .text", "    .globl _start", "_start:"]
    e.line(f"la {WEIGHTS}, weights")
    if c.memory.buffer_bytes:
        start(c, "buffers")
    if c.target.pairs:
        e.line("csrwi lut.pairs, 1", "codes of codebooks, two at a time")
    c.target.start(c)
    think.start(c)
    starc.start(c)
    residency.load(c)


def _end(c: Lowering) -> None:
    """The ends of a run: one that went well, and the messages of others."""
    e = c.emit
    e.label("finished")
    e.line(f"li a0, 0;  li a7, {EXIT};  ecall")
    ends = [("empty_prompt", EMPTY_PROMPT, "the prompt is empty"), ("bad_token", BAD_TOKEN, "a token beyond the vocabulary")]
    if why := missing(c.memory.machine).get("--top-p"):
        ends.append(("no_top_p", NO_TOP_P, f"--top-p: {why}"))
    for name, code, text in ends:
        e.label(name)
        e.line(f"li a0, 2;  la a1, {name}_text;  li a2, {len(text.encode()) + 1};  li a7, {WRITE};  ecall")
        e.line(f"li a0, {code};  li a7, {EXIT};  ecall")
        e.lines += ["    .section .rodata", f'{name}_text: .ascii {quoted(text)[:-1]}\\n"', "    .section .text"]


def _token_loop(c: Lowering, sampling: Room) -> None:
    e, graph, config, chunks, cuts = c.emit, c.graph, c.graph.config, c.memory.chunk > 1 and not c.graph.cuts, c.graph.cuts
    e.line(f"li {POSITION}, 0")
    e.line("li a6, 1;  sd a6, prompt_left, a7")
    e.line(f"li a7, {READ_TOKEN}", "the first token of the prompt")
    e.line(f"ecall;  mv {TOKEN}, a0;  bltz a0, empty_prompt")
    if chunks:
        _chunk(c)
    elif cuts:
        segments.prompt(c)

    e.lines.append("\n# ---- one token at one position")
    e.label("token")
    e.line(f"li a6, {config.vocab};  bgeu {TOKEN}, a6, bad_token")
    if chunks:
        e.label("alone")
    if cuts:
        e.line(f"sd {POSITION}, next_place, a6")
    at_position(c)
    operations(c, "start", graph.start)
    layers(c)
    if cuts:
        e.line(f"ld {POSITION}, next_place")

    next_token = f"li a7, {READ_TOKEN};  ecall;  mv {TOKEN}, a0;  bgez a0, next_position"
    if not chunks and not cuts:
        e.lines.append("\n# ---- while the prompt lasts, its next token comes from the host and needs no logits")
        with e.profile.section(CHOICE):
            e.line("ld a6, all_logits;  bnez a6, logits_wanted", "the host asks for them")
            e.line("ld a6, prompt_left;  beqz a6, logits_wanted")
        e.line(next_token)
        e.line("sd zero, prompt_left, a6")
    e.label("logits_wanted")
    c.built = ""
    operations(c, "finish", graph.finish)
    with e.profile.section(CHOICE):
        e.line("ld a6, all_logits;  beqz a6, choose")
    e.line("sync.fence", "the host looks at them")
    e.line(f"la a0, logits;  li a1, {config.vocab};  li a7, {SHOW};  ecall")
    if chunks:
        e.line("j shown")
    else:
        e.line(next_token)
        e.line("j finished")

    e.label("choose")
    sample(c, sampling)

    e.lines.append("\n# ---- the token goes out, unless it ends the text")
    e.label("chosen")
    with e.profile.section(CHOICE):
        e.line("lw a6, stop_count;  la a5, stop_tokens")
        e.mark("1")
        with e.profile.loop(len(config.stop)):
            e.line(f"beqz a6, 2f;  lw a4, 0(a5);  beq a4, {TOKEN}, finished")
        e.line("addi a5, a5, 4;  addi a6, a6, -1;  j 1b")
        e.mark("2")
        e.line("ld a6, max_tokens", "tokens that may still come")
    e.line("beqz a6, finished;  addi a6, a6, -1;  sd a6, max_tokens, a5")
    e.line(f"mv a0, {TOKEN};  li a7, {EMIT_TOKEN};  ecall")
    e.line("beqz a6, finished")
    e.label("next_position")
    e.line(f"addi {POSITION}, {POSITION}, 1")
    e.line(f"li a6, {c.memory.context};  beq {POSITION}, a6, finished", "the context is full")
    if c.memory.rows:
        e.line(f"ld a6, prompt_length;  li a7, {c.graph.cuts[0].new};  add a6, a6, a7;  beq {POSITION}, a6, finished",
               "no cache has room for more tokens behind a prompt")
    e.line("j token")


# ------------------------------------------------------------------------------------------------ the prompt, in chunks


def _chunk(c: Lowering) -> None:
    """The prompt: as many tokens as a chunk has are taken, then they go through the layers together.

    A single token that is left takes the code for one token. Behind the last chunk that code goes on with the last token, in the
    first frame. If the host wants all logits, those of a chunk are computed together (all_logits.py), or where they have no room
    outside the scratchpad that code goes on with each token.
    """
    e, memory, config = c.emit, c.memory, c.graph.config
    e.lines.append(f"\n# ---- the prompt, up to {memory.chunk} tokens at a time")
    e.label("chunk")
    c.chunk = True
    with e.reserved(FRAME, TOKENS_LEFT):
        e.line(f"la {FRAME}, frames")
        e.line(f"li {TOKENS_LEFT}, 0", "tokens of this chunk so far")
        e.label("taken")
        e.line(f"li a6, {config.vocab};  bgeu {TOKEN}, a6, bad_token")
        e.line(f"sw {TOKEN}, {head(c)}({FRAME})", "a frame begins with its token")
        e.line(f"sw {POSITION}, {head(c) + 4}({FRAME})", "and its position")
        e.line(f"addi {TOKENS_LEFT}, {TOKENS_LEFT}, 1")
        e.line(f"li a7, {READ_TOKEN};  ecall;  bltz a0, prompt_ends")
        e.line("sd a0, next_token, a6", "it is for this chunk, or for the next one")
        e.line(f"li a6, {memory.chunk};  beq {TOKENS_LEFT}, a6, chunk_full")
        e.line(f"addi a6, {POSITION}, 1;  li a7, {memory.context};  beq a6, a7, chunk_full", "the context is full")
        e.line(f"mv {POSITION}, a6;  mv {TOKEN}, a0")
        e.advance(FRAME, memory.frame_bytes)
        e.line("j taken")
        e.label("prompt_ends")
        e.line("sd zero, prompt_left, a6")
        e.line(f"addi a6, {TOKENS_LEFT}, -1;  beqz a6, alone", "a single one takes the code for one token")
        e.label("chunk_full")
        e.line(f"sd {TOKENS_LEFT}, chunk_tokens, a6")
        strides(c, memory.frame_bytes, "from one token's vector to the next one's")
        grouped(c, "start", c.graph.start)
        layers(c)

        e.lines.append("\n# ---- behind a chunk")
        strides(c, 0)
        e.line(f"la a6, frames;  sd a6, {SHOWN_FRAME}, a7", "the first one's logits are next, if the host wants all")
        e.line(f"ld a6, all_logits;  bnez a6, {'all_wanted' if memory.shown else 'logits_wanted'}")
        e.line("ld a6, prompt_left;  bnez a6, next_chunk")
        with e.taken(2) as (last, size):
            e.line(f"ld {last}, chunk_tokens;  addi {last}, {last}, -1", "the last token goes on in the first frame")
            e.line(f"li {size}, {memory.frame_bytes};  mul {last}, {last}, {size}")
            e.line(f"la {FRAME}, frames;  add {FRAME}, {FRAME}, {last}")
        to_first_frame(c)
        e.line("j logits_wanted")

        if memory.shown:
            all_logits(c)
            e.label("shown")
        else:
            e.lines.append("\n# ---- the next token's logits, if the host wants all")
            e.label("shown")
            e.line("ld a6, chunk_tokens;  addi a6, a6, -1;  blez a6, all_shown;  sd a6, chunk_tokens, a7")
            e.line(f"ld {FRAME}, {SHOWN_FRAME}")
            e.advance(FRAME, memory.frame_bytes)
            e.line(f"sd {FRAME}, {SHOWN_FRAME}, a7")
            to_first_frame(c)
            e.line("j logits_wanted")
            e.label("all_shown")
        e.line("ld a6, prompt_left;  beqz a6, finished")
        e.label("next_chunk")
        e.line(f"ld {TOKEN}, next_token")
        e.line(f"addi {POSITION}, {POSITION}, 1")
        e.line(f"li a6, {memory.context};  beq {POSITION}, a6, finished", "the context is full")
        e.line("j chunk")
    c.chunk = False
