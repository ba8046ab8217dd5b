"""The program of a model for several sequences side by side: each has its prompt, its caches, its length, its random numbers.

First the prompts go through the layers in chunks, all tokens but the last of each; a chunk may hold tokens of several sequences.
Then each step computes one token of every sequence that has not ended: it takes the code of a chunk, so weights are read once a
step. What is computed for a token is the same as in a program for one sequence (program.py), so each text is the same too.

The host puts the number of sequences at `sequence_count`, and of each a record at `sequences`. It gives the prompts one after the
other; a reply of -1 ends each. Before a token goes out, the program says whose it is.

Prompts that are cut go through the layers one after the other, with their last tokens (segments.py). So the first step has only to
choose what comes behind these.
"""

from __future__ import annotations

from compiler.lowering import segments
from compiler.lowering.chunk import KEYS_BEHIND, SEQUENCE, VALUES_BEHIND, each_frame, head, row
from compiler.lowering.emit import FRAME, POSITION, TOKEN, TOKENS_LEFT
from compiler.lowering.layers import grouped, layers, operations, strides, to_first_frame
from compiler.lowering.lower import Lowering
from compiler.lowering.profile import CHOICE, STEP
from compiler.lowering.sampling import Room, sample
from isa.services import EMIT_TOKEN, READ_TOKEN
from isa.services import SEQUENCE as SAY_SEQUENCE

RECORD = {"token": 0, "position": 4, "left": 8, "seed": 16, "active": 24}
"""Of each sequence: offset of its next token and that one's position (u32), how many tokens may still come, its random numbers'
state, whether it goes on (u64). The host sets `left` and `seed`."""
RECORD_BYTES = 32


def batch(c: Lowering, sampling: Room) -> None:
    """The prompts, then a step for the tokens of all sequences, again and again."""
    e, memory, cuts = c.emit, c.memory, bool(c.graph.cuts)
    c.chunk = True
    with e.reserved(FRAME, TOKENS_LEFT):
        _prompts(c)
        e.lines.append("\n# ---- a step: the next token of each sequence that goes on")
        e.label("step")
        if not cuts:
            e.line("li a6, 1;  sd a6, stepping, a7")
        e.line(f"la {FRAME}, frames;  li {TOKENS_LEFT}, 0")
        e.line("li a0, 0;  la a1, sequences")
        e.label("step_sequence")
        with e.profile.section(CHOICE):
            e.line(f"ld a6, {RECORD['active']}(a1);  beqz a6, step_next")
            e.line(f"lwu {TOKEN}, {RECORD['token']}(a1);  lwu {POSITION}, {RECORD['position']}(a1)")
            _to_frame(c)
            e.label("step_next")
            e.line(f"addi a0, a0, 1;  addi a1, a1, {RECORD_BYTES};  ld a6, sequence_count;  bltu a0, a6, step_sequence")
        e.line(f"beqz {TOKENS_LEFT}, finished", "all texts have ended")

        e.lines.append("\n# ---- the tokens of a chunk go through the layers together")
        e.label("compute")
        e.line(f"sd {TOKENS_LEFT}, chunk_tokens, a6")
        if cuts:
            segments.step(c)
        else:
            strides(c, memory.frame_bytes, "from one token's vector to the next one's")
            grouped(c, "start", c.graph.start)
            layers(c)
            with e.profile.section(STEP):
                e.line("ld a6, stepping;  bnez a6, choose_tokens")
            e.line(f"la {FRAME}, frames;  li {TOKENS_LEFT}, 0", "the frames are free for the next chunk")
            e.line("ld a6, sequence;  ld a7, sequence_count;  bgeu a6, a7, step")
            e.line(f"ld {POSITION}, next_position;  ld {TOKEN}, next_token;  j prompt_token")
        e.label("choose_tokens")
        if memory.finish_together:
            grouped(c, "finish", c.graph.finish)
            e.fence()
        else:
            strides(c, 0)
        with e.profile.section(STEP), each_frame(c), e.profile.uncounted():
            _next_token(c, sampling)
        e.line("j step")
        if cuts:
            segments.layers_of_chunks(c)
    c.chunk = False


def _prompts(c: Lowering) -> None:
    """All prompts. Behind them each sequence has its record: it goes on unless its prompt has no room."""
    e, memory, cuts = c.emit, c.memory, bool(c.graph.cuts)
    e.lines.append("\n# ---- the prompts: " + ("one after the other" if cuts else "all tokens but the last of each, in chunks"))
    e.line(f"la {FRAME}, frames;  li {TOKENS_LEFT}, 0")
    e.label("next_prompt")
    e.line("ld a6, sequence;  ld a7, sequence_count;  bgeu a6, a7, all_read")
    e.line(f"li a7, {READ_TOKEN};  ecall;  mv {TOKEN}, a0;  bltz a0, empty_prompt")
    e.line(f"li {POSITION}, 0")
    if cuts:
        segments.prompt_of_text(c)
        e.line("j prompt_through")
    else:
        e.label("prompt_token")
        e.line(f"li a6, {memory.context};  beq {POSITION}, a6, prompt_full", "the context is full")
        e.line(f"li a6, {c.graph.config.vocab};  bgeu {TOKEN}, a6, bad_token")
        e.line(f"li a7, {READ_TOKEN};  ecall;  bltz a0, prompt_through")
        e.line("sd a0, next_token, a6", "a token follows, so this one is for the chunk")
        e.line("ld a0, sequence")
        _to_frame(c)
        e.line(f"addi {POSITION}, {POSITION}, 1;  ld {TOKEN}, next_token")
        e.line(f"li a6, {memory.chunk};  bne {TOKENS_LEFT}, a6, prompt_token")
        e.line(f"sd {POSITION}, next_position, a6;  j compute")
    e.label("prompt_full")
    e.line(f"li a7, {READ_TOKEN};  ecall;  bgez a0, prompt_full", "tokens that have no room are left out, and no text follows")
    e.line("li a1, 0;  j prompt_taken")
    e.label("prompt_through")
    e.line("li a1, 1", "this sequence goes on")
    e.label("prompt_taken")
    _record(c, "sequence")
    e.line(f"sw {TOKEN}, {RECORD['token']}(a0);  sw {POSITION}, {RECORD['position']}(a0);  sd a1, {RECORD['active']}(a0)")
    e.line("ld a6, sequence;  addi a6, a6, 1;  sd a6, sequence, a7")
    e.line("j next_prompt")
    e.label("all_read")
    if not cuts:
        e.line(f"bnez {TOKENS_LEFT}, compute", "the last chunk is not full")


def _to_frame(c: Lowering) -> None:
    """TOKEN at POSITION of the sequence whose number is in a0 fills the current frame; the next one becomes the current one."""
    e, at = c.emit, head(c)
    e.line(f"sw {TOKEN}, {at}({FRAME});  sw {POSITION}, {at + 4}({FRAME});  sd a0, {at + SEQUENCE}({FRAME})", "the head of a frame")
    if c.graph.cuts:
        e.line(f"sw {POSITION}, {row(c)}({FRAME})", "its row in caches of layers before the first cut")
    for place, base in ((KEYS_BEHIND, "keys"), (VALUES_BEHIND, "values")):
        e.line(f"li a6, {c.memory.sequence_bytes[base]};  mul a6, a6, a0;  sd a6, {at + place}({FRAME})")
    e.line(f"addi {TOKENS_LEFT}, {TOKENS_LEFT}, 1")
    e.advance(FRAME, c.memory.frame_bytes)


def _record(c: Lowering, number: str) -> None:
    """The address of the record of a sequence, in a0. `number`: what is loaded to know which one, a variable or of a frame."""
    text = f"ld a6, {number};  li a7, {RECORD_BYTES};  mul a6, a6, a7;  la a0, sequences;  add a0, a0, a6"
    if FRAME in number:
        c.emit.framed(text, 8)
    else:
        c.emit.line(text)


def _next_token(c: Lowering, sampling: Room) -> None:
    """For the frame of one sequence: the token that follows is chosen and goes out, or its text ends."""
    e, own = c.emit, f"{head(c) + SEQUENCE}({FRAME})"
    c.built = ""
    if not c.memory.finish_together:
        with e.profile.section(CHOICE):
            to_first_frame(c)
        c.chunk = False
        operations(c, "finish", c.graph.finish)
        e.fence()
    with e.profile.section(CHOICE):
        _record(c, own)
        e.line(f"ld a6, {RECORD['seed']}(a0);  sd a6, seed, a7", "its random numbers")
    e.forget()
    sample(c, sampling)
    c.chunk = True

    e.lines.append("\n# ---- the token goes out, unless it ends the text")
    e.label("chosen")
    e.fence()
    with e.profile.section(CHOICE):
        _record(c, own)
        e.line(f"ld a6, seed;  sd a6, {RECORD['seed']}(a0)")
        e.line("lw a6, stop_count;  la a5, stop_tokens")
        e.mark("1")
        with e.profile.loop(len(c.graph.config.stop)):
            e.line(f"beqz a6, 2f;  lw a4, 0(a5);  beq a4, {TOKEN}, text_ends;  addi a5, a5, 4;  addi a6, a6, -1;  j 1b")
        e.mark("2")
        e.line(f"ld a5, {RECORD['left']}(a0);  beqz a5, text_ends;  addi a5, a5, -1;  sd a5, {RECORD['left']}(a0)")
        e.framed(f"mv a4, a0;  ld a0, {own};  li a7, {SAY_SEQUENCE};  ecall", 8, "whose token it is")
        e.line(f"mv a0, {TOKEN};  li a7, {EMIT_TOKEN};  ecall;  mv a0, a4")
        e.line("beqz a5, text_ends", "no more may come")
        e.line(f"lwu {POSITION}, {RECORD['position']}(a0);  addi {POSITION}, {POSITION}, 1")
    e.line(f"li a6, {c.memory.context};  beq {POSITION}, a6, text_ends", "the context is full")
    if c.memory.rows:
        e.framed(f"ld a6, {own}", 8)
        e.line(f"slli a6, a6, 3;  la a7, prompt_length;  add a6, a6, a7;  ld a6, 0(a6);  li a7, {c.graph.cuts[0].new}")
        e.line(f"add a6, a6, a7;  beq {POSITION}, a6, text_ends", "no cache has room for more tokens behind a prompt")
    e.line(f"sw {TOKEN}, {RECORD['token']}(a0);  sw {POSITION}, {RECORD['position']}(a0);  j text_goes_on")
    e.label("text_ends")
    e.line(f"sd zero, {RECORD['active']}(a0)")
    e.label("text_goes_on")
