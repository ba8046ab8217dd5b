"""The whole program of a model as assembly: start-up, the loop over tokens, the loop over layers, sampling, the end.

It is written in the order in which it runs. The host fills the block at `parameters` before the run and gives the prompt token by
token. The program emits tokens until a stop token, `max_tokens`, or the end of the context. If `all_logits` is not 0, it computes
logits at every position of the prompt and ends there: they are at `logits` each time it asks for the next token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compiler.graph import Op
from compiler.lowering import LOWERINGS, Lowering
from compiler.lowering.emit import KEYS, KV_OFFSET, LAYER, LAYERS_LEFT, POSITION, POSITIONS, ROPE_ROW, TOKEN, VALUES, WEIGHTS
from compiler.lowering.sampling import Room, missing, sample
from compiler.lowering.tiles import start
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.weights import ROPE, WeightLayout
from isa.services import EMIT_TOKEN, EXIT, READ_TOKEN, WRITE
from isa.text import quoted

if TYPE_CHECKING:
    from compiler.targets.target import Target

EMPTY_PROMPT, BAD_TOKEN, NO_TOP_P = 2, 3, 4     # exit codes


def code(target: Target, layout: WeightLayout, memory: MemoryPlan, sampling: Room) -> str:
    """The program's code. Raises RoomError for a matrix of which no row fits into a tile."""
    c = Lowering(target, layout, memory)
    _token_loop(c, sampling)
    return "\n".join(c.emit.lines) + "\n"


def mark(section: str, number: int) -> str:
    """The label behind operation `number` of a list of the graph (`section` is its name): there its results are in memory."""
    return f"op.{section}.{number}"


def _token_loop(c: Lowering, sampling: Room) -> None:
    e, graph, config = c.emit, c.graph, c.graph.config
    e.lines += ["    .section .text", "    .globl _start", "_start:"]
    e.line(f"la {WEIGHTS}, weights")
    if c.memory.buffer_bytes:
        start(c, "buffers")
    c.target.start(c)
    e.line(f"li {POSITION}, 0")
    e.line(f"li a7, {READ_TOKEN}", "the first token of the prompt")
    e.line(f"ecall;  mv {TOKEN}, a0;  bltz a0, empty_prompt")

    e.lines.append("\n# ---- one token at one position")
    e.label("token")
    e.line(f"li a6, {config.vocab};  bgeu {TOKEN}, a6, bad_token")
    e.line(f"addi {POSITIONS}, {POSITION}, 1", "positions that attention looks at")
    if config.window:
        e.line(f"li a6, {config.window};  ble {POSITIONS}, a6, 1f;  mv {POSITIONS}, a6")
        e.mark("1")
    e.line(f"li a6, {c.memory.caches['values'].row_bytes}")
    e.line(f"mul {KV_OFFSET}, {POSITION}, a6", "bytes before this position's row of a cache")
    if config.rope:
        e.line(f"li a6, {4 * config.head_dim};  mul {ROPE_ROW}, {POSITION}, a6")
        e.line(f"add {ROPE_ROW}, {ROPE_ROW}, {e.register(c.weight(ROPE))}")
    _operations(c, "start", graph.start)

    e.lines.append(f"\n# ---- {config.layers} layers")
    e.fence()
    e.line(f"li {LAYER}, {c.layout.layers_at};  add {LAYER}, {LAYER}, {WEIGHTS}")
    e.line(f"la {KEYS}, keys;  la {VALUES}, values")
    c.target.enter_layers(c)
    if len(graph.bodies) == 1:
        e.line(f"li {LAYERS_LEFT}, {config.layers}")
    else:
        e.line(f"la {LAYERS_LEFT}, layers", "the code of the next layer, in a table")
        e.line(f"ld a6, 0({LAYERS_LEFT});  jr a6")
    for number, (body, (title, _)) in enumerate(zip(graph.bodies, list(graph.sections())[1:-1], strict=True)):
        if len(graph.bodies) > 1:
            e.lines.append(f"\n# ---- {title}")
        c.body, c.built = number, ""
        _layer(c, graph.name_of(body), body.ops)
    e.label("layers_done" if len(graph.bodies) > 1 else "1")

    next_token = f"li a7, {READ_TOKEN};  ecall;  mv {TOKEN}, a0;  bgez a0, next_position"
    e.lines.append("\n# ---- while the prompt lasts, its next token comes from the host and needs no logits")
    e.line("ld a6, all_logits;  bnez a6, logits_wanted", "the host asks for them")
    e.line("ld a6, prompt_left;  beqz a6, logits_wanted")
    e.line(next_token)
    e.line("sd zero, prompt_left, a6")
    e.label("logits_wanted")
    c.built = ""
    _operations(c, "finish", graph.finish)
    e.line("ld a6, all_logits;  beqz a6, choose")
    e.line("sync.fence", "the host looks at them when it is asked for the token that follows")
    e.line(next_token)
    e.line("j finished")

    e.label("choose")
    sample(c, sampling)

    e.lines.append("\n# ---- the token goes out, unless it ends the text")
    e.label("chosen")
    e.line("lw a6, stop_count;  la a5, stop_tokens")
    e.mark("1")
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
    e.line("j token")

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


def _layer(c: Lowering, name: str, ops: Sequence[Op]) -> None:
    """A layer's operations. Then registers advance to the weights and caches of the next layer."""
    e, loop = c.emit, name == "layer"
    e.label(name)
    _operations(c, name, ops)
    e.fence()
    e.line(f"li a6, {c.layout.body_bytes[c.body]};  add {LAYER}, {LAYER}, a6")
    e.line(f"li a6, {c.memory.layer_bytes['keys']};  add {KEYS}, {KEYS}, a6;  add {VALUES}, {VALUES}, a6")
    c.target.next_layer(c)
    e.line(f"addi {LAYERS_LEFT}, {LAYERS_LEFT}, {-1 if loop else 8}")
    if loop:
        e.line(f"beqz {LAYERS_LEFT}, 1f;  j {name}")
    else:
        e.line(f"ld a6, 0({LAYERS_LEFT});  jr a6")


def _operations(c: Lowering, section: str, ops: Sequence[Op]) -> None:
    for number, op in enumerate(ops):
        c.emit.comment(f"{section} {number}: {', '.join(op.outputs)} = {op.kind} {', '.join((*op.inputs, *op.weights))}")
        LOWERINGS[op.kind](c, op)
        c.emit.mark(mark(section, number))
