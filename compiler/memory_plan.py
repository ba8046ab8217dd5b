"""Where the values of a graph stand while its program runs: activations in the scratchpad, caches in DRAM.

A value's place is a slot of the scratchpad. Slots are used again when the value in them is read for the last time; what is
computed element by element may be computed in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from compiler.errors import ModelError
from compiler.graph import Graph, Op, Value
from isa.preset import Preset

ALIGN = 64
BYTES = {"f32": 4, "i8": 1}
IN_PLACE = ("softmax", "silu", "gelu", "relu", "relu2", "mul", "add", "bias", "scale", "rope")
"""Kinds whose result may stand where an operand stood: one instruction, or one for each row, with rows in their order."""


@dataclass
class Slot:
    """Bytes of the scratchpad. `name` is a symbol of the program."""

    name: str
    size: int
    offset: int = 0


@dataclass
class MemoryPlan:
    """`slots` by value name. A state has no slot: it is a cache in DRAM, (context, n) f32 a layer."""

    context: int
    slots: dict[str, Slot] = field(default_factory=dict)
    caches: dict[str, int] = field(default_factory=dict)            # elements of a row

    @property
    def distinct(self) -> list[Slot]:
        return sorted({id(slot): slot for slot in self.slots.values()}.values(), key=lambda slot: slot.offset)

    @property
    def scratchpad_bytes(self) -> int:
        return max((slot.offset + slot.size for slot in self.distinct), default=0)

    def size(self, value: Value) -> int:
        """Bytes of a value, with room for every position."""
        return BYTES[value.format] * prod(self.context if length == "positions" else int(length) for length in value.shape)


def plan_memory(graph: Graph, context: int, machine: Preset, reserved: int = 0) -> MemoryPlan:
    """Give every value its place. `reserved` bytes of the scratchpad are for others. Raises ModelError if it is too small."""
    plan = MemoryPlan(context, caches={name: int(value.shape[-1]) for name, value in graph.values.items() if value.state})
    sections = [ops for _, ops in graph.sections()]
    shared = {name for name in graph.values if sum(any(name in (*op.inputs, *op.outputs) for op in ops) for ops in sections) > 1}
    slots = [_assign(plan, graph, name) for name in sorted(shared) if name not in ("token", "position") and name not in plan.caches]
    free: list[Slot] = []
    for ops in sections:
        _section(plan, graph, ops, shared, slots, free)
    at = 0
    for slot in slots:
        slot.offset = at
        at = -(-(at + slot.size) // ALIGN) * ALIGN
    room = machine.region("sram").size - reserved
    if at > room:
        raise ModelError("", f"machine {machine.name}", got=f"the activations take {at:,} bytes of scratchpad for {context} positions",
                         expected=f"at most {room:,}", hint=f"{at - room:,} bytes are missing: try a shorter --context, or --machine slim")
    return plan


def _assign(plan: MemoryPlan, graph: Graph, name: str) -> Slot:
    plan.slots[name] = Slot(name, plan.size(graph.values[name]))
    return plan.slots[name]


def _section(plan: MemoryPlan, graph: Graph, ops: Sequence[Op], shared: set[str], slots: list[Slot], free: list[Slot]) -> None:
    last = {name: number for number, op in enumerate(ops) for name in (*op.inputs, *op.outputs)}
    for number, op in enumerate(ops):
        dying = [name for name in op.inputs if last[name] == number and name in plan.slots and name not in shared]
        if op.kind in IN_PLACE:
            _release(plan, dying, free)
        for name in op.outputs:
            if name in plan.slots or name in plan.caches:
                continue
            size = plan.size(graph.values[name])
            fitting = min((slot for slot in free if slot.size >= size), key=lambda slot: slot.size, default=None)
            if fitting is None:
                slots.append(_assign(plan, graph, name))
            else:
                free.remove(fitting)
                plan.slots[name] = fitting
        if op.kind not in IN_PLACE:
            _release(plan, dying, free)
        _release(plan, [name for name in op.outputs if last[name] == number and name in plan.slots and name not in shared], free)


def _release(plan: MemoryPlan, names: Sequence[str], free: list[Slot]) -> None:
    for name in dict.fromkeys(names):
        if plan.slots[name] not in free:
            free.append(plan.slots[name])
