"""What a program of a model holds beside its code: weights, the block that the host fills, caches, activations. As assembly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.lowering import cim, cuts, objects, starc, swaps, turns
from compiler.lowering.chunk import SHOWN_FRAME, SHOWN_TO, SHOWN_TOKENS
from compiler.lowering.decoded import matrices, tables
from compiler.lowering.residency import about, has_table, table
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.weights import WeightLayout
from isa.preset import load_preset, preset_names
from isa.text import printable, quoted

if TYPE_CHECKING:
    from compiler.targets.target import Target

MOST_STOPS = 16                         # stop tokens that the parameter block has room for


def data(target: Target, layout: WeightLayout, memory: MemoryPlan, stem: str) -> str:
    """The sections with data. They ask for files `stem`.NAME: one for each image of the target, and `stem`.meta."""
    graph, machine, lines = target.graph, target.machine, list[str]()
    emit = lines.append
    emit(f"# {printable(f'{target.model.path.name}: {graph.config.architecture}')}")
    emit(f"# Machine {printable(machine.name)}, {memory.context} positions, {layout.size:,} bytes of weights, "
         f"{memory.scratchpad_bytes:,} bytes of scratchpad.")
    # Another one is a file, which has to be named where this is assembled; it may have the name of a preset.
    if machine.name in preset_names() and machine == load_preset(machine.name):
        emit(f"    .machine {machine.name}")
    emit(f"    .meta {quoted(f'{stem}.meta')}\n")
    for image in target.images(layout):
        for number, line in enumerate(image.about):
            emit(f"#   {line}" if number else f"# ---- {line}")
        emit(f"    .section {image.home.section}\n    .balign 4096\n{image.name}:\n    .incbin {quoted(f'{stem}.{image.name}')}\n")

    emit("# ---- the host's part: what to generate, and how")
    emit('    .section .sram.variables, "aw"' if memory.residency.variables else "    .section .data")
    emit("    .balign 8")
    stops = sorted(graph.config.stop)
    for name, text in (
            ("parameters", ""), ("max_tokens", ".dword -1"), ("temperature", ".float 0"), ("inverse_temperature", ".float 1"),
            ("top_p", ".float 1"), ("stop_count", f".word {len(stops)}"), ("seed", ".dword 1"), ("all_logits", ".dword 0"),
            ("stop_tokens", ".word " + ", ".join(map(str, [*stops, *[0] * (MOST_STOPS - len(stops))])))):
        emit(f"{name}:".ljust(24) + text)
    if memory.sequences > 1:
        emit("sequence_count:".ljust(24) + ".dword 1")
        emit("sequences:".ljust(24) + "# of each: token and position, left, seed, active")
        emit(f"    .rept {memory.sequences}\n    .dword 0, -1, 1, 0\n    .endr")
        variables: tuple[str, ...] = ("sequence", "stepping", "next_token", "next_position", "chunk_tokens")
        variables += ("prompt_left",) * bool(graph.cuts)
    else:
        emit("prompt_left:".ljust(24) + ".dword 1")
        variables = ("next_token", "chunk_tokens", SHOWN_FRAME) if memory.framed else ()
        variables += (SHOWN_TOKENS, SHOWN_TO) * (memory.shown > 0)
        if graph.cuts:
            emit("prompt_tokens:".ljust(24) + ".dword -1".ljust(24) + "# at most; more tokens that the host gives are new ones")
            variables = ("next_token", "chunk_tokens")
    of_objects = objects.VARIABLES * (objects.has_objects(graph) and not memory.turns)
    variables += cuts.VARIABLES * bool(graph.cuts)
    for name in (*variables, *swaps.VARIABLES * bool(memory.near.turns), *cim.VARIABLES * cim.has_macros(graph), *of_objects):
        emit(f"{name}:".ljust(24) + ".dword 0")
    for name in cuts.of_text(graph) if graph.cuts else ():
        emit(f"{name}:".ljust(24) + ".dword " + ", ".join(["0"] * memory.sequences))
    if "active" in graph.values:
        if not memory.turns:
            emit("active_count:".ljust(24) + ".dword 0")
        emit("neuron_counts:".ljust(24) + ".dword " + ", ".join(["0, 0"] * len(graph.bodies)).ljust(24)
             + "# for each body of layers: active ones so far, layers")
    for op in graph.bodies[0].ops:
        if op.kind in ("active.above", "active.over"):
            emit("ffn_sparsity:".ljust(24) + f".float {op.attributes['sparsity']!r}")
    for name, values in tables(matrices(graph, layout)).items():
        emit(f"{name}:".ljust(24) + ".float " + ", ".join(map(str, values)).ljust(24) + "# what codes stand for")
    lines += starc.reciprocals(graph)
    if objects.has_objects(graph):
        lines += objects.places(target.objects(layout))
    if has_table(graph, memory):
        emit("\n# ---- where the code of each layer is: those with the same formats share it")
        for chunk in (False,) * (memory.sequences == 1) + (True,) * bool(memory.framed):
            names = table(graph, memory, chunk=chunk)
            emit(f"{'chunk_' * chunk}layers:".ljust(24) + ".dword " + ", ".join(names))

    lines += cuts.data(graph)
    if memory.near.turns:
        lines += ["# ---- of layers whose keys and values take turns: their home; home and place of the next one's",
                  "    .section .rodata", "    .balign 8", *swaps.table(graph, memory)]
    cached = memory.cached
    emit("\n# ---- keys and values of every layer and position" + f", but of the first {cached} layers" * bool(cached))
    if cached < graph.config.layers:
        emit(f"    .section {target.caches.section}\n    .balign 64")
    for base in memory.layer_bytes if cached < graph.config.layers else ():
        parts = ", then ".join(str(graph.values[name]) for name, cache in memory.caches.items() if cache.base == base)
        size = memory.cache_start(base, graph.config.layers) - memory.cache_start(base, cached)
        emit(f"{base}: .zero {size}".ljust(48) + f"# of each layer {parts}")

    if memory.outside:
        emit("\n# ---- for which the scratchpad has no room")
        emit(f"    .section {target.outside.section}\n    .balign 64")
        for name, size in memory.outside.items():
            emit(f"{name}: .zero {-(-size // 64) * 64}".ljust(48) + (f"# {graph.values[name]}" if name in graph.values else ""))

    emit("\n# ---- activations; names with one address take turns")
    emit('    .section .sram, "aw"\n    .balign 64')
    emit(f"activations: .zero {memory.scratchpad_bytes}")
    if memory.framed:
        emit(f"    .equ frames, activations + {memory.frames}".ljust(48)
             + f"# of {memory.chunk} tokens, {memory.frame_bytes} bytes each; names below are those of the first")
    if memory.buffer_bytes:
        emit(f"    .equ buffers, activations + {memory.buffers}".ljust(48) + "# two of them, for weights and cache rows")
        emit(f"    .equ buffer_bytes, {memory.buffer_bytes}")
    for number, line in enumerate(about(layout, memory)):
        if not number:
            emit("\n# ---- these stay here from the start on, so that they are not read from outside for each token")
            emit(f"    .equ resident, activations + {memory.residency.start}")
        emit(f"#   {line}")
    for name, slot in sorted(memory.slots.items(), key=lambda item: item[1].offset):
        shape = f"# {graph.values[name]}" if name in graph.values else ""
        emit(f"    .equ {name}, activations + {slot.offset}".ljust(48) + shape)
    for number, name in enumerate(turns.VARIABLES if memory.turns else ()):
        emit(f"    .equ {name}, variables_of_halves + {8 * number}")
    return "\n".join([*lines, "", ""])
