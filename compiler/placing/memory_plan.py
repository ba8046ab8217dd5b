"""Where the values of a graph stand while its program runs: activations in the scratchpad, caches in DRAM.

A value has its bytes from the operation that makes it to the last one that reads it. Then other values may use them. A result
that is computed element by element may replace its operand. Behind the activations there may be two buffers of equal size: the
fetch unit copies weights there if the other units cannot reach them. Sampling comes last and uses the same bytes again.

A prompt runs in chunks of several tokens (compiler/graph/groups.py). Each token of a chunk has a frame: bytes of its own for the
values that more than one group of operations works with. A value of one group needs its bytes only while that group works on one
token, so all tokens share them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from compiler.errors import RoomError, most
from compiler.graph import Graph, Op, Value
from compiler.graph.groups import across_groups, groups, head_product
from compiler.graph.ops import EXTENTS
from compiler.placing.near_caches import NearCaches
from compiler.placing.residency import Residency
from isa.preset import Preset
from isa.regions import SRAM

ALIGN = 64
BYTES = {"f32": 4, "f16": 2, "i32": 4, "i8": 1, "index": 4}
IN_PLACE = ("softmax", "silu", "gelu", "relu", "relu2", "mul", "add", "bias", "scale", "rope", "scale.heads")
"""Kinds whose result may replace an operand of the same size: they are one instruction, or one for each row in order."""

HEAD = "frame_head"
"""At the start of a frame: the token and its position, u32 each."""
HEAD_BYTES, WITH_ROW, WITH_SEQUENCE = 8, 8, 24      # where prompts are cut, where there are several sequences: both more (chunk.py)
PART, CHUNK_LOGITS = "logits_part", "chunk_logits"
"""Of the logits of each token of a chunk: a part, in its frame, and all of them, outside the scratchpad (logit_parts.py)."""
LEAST_PART = 64             # logits that a frame has room for, at least: else the head is read for one token after the other
MOST_CHUNK = 64
"""Tokens of a chunk at most, unless more are asked for: weights are read once for all of them, so more save little."""
FRAMES_SHARE = 1 / 4
"""Of the scratchpad, which frames take at most unless a chunk is asked for: the rest is for weights."""

BESIDE = "context.attn"
"""Before an operation of this kind, of any format, several units work at the same time. If values shared bytes there, units would
wait for each other, so every value keeps its bytes until then."""


@dataclass(frozen=True)
class Slot:
    """A run of bytes in the scratchpad; `offset` from its start."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size

    def overlaps(self, other: Slot) -> bool:
        return self.offset < other.end and other.offset < self.end


@dataclass(frozen=True)
class Cache:
    """Where a layer keeps earlier positions: `offset` bytes behind the start of the layer's part of `base` (keys or values).

    row_bytes  bytes from one position to the next: of one element where a row is a head's (scales) or a channel's (transposed keys)
    strides    bytes from one element to the next along each axis of the value
    """

    base: str
    offset: int
    row_bytes: int
    strides: tuple[int, ...]


@dataclass
class MemoryPlan:
    """Where values lie: activations in `slots`, by name; states in `caches`. `layer_bytes` by base: from one layer to the next.

    rows          positions for which the caches of each layer have room; (): all have room for the context
    near          whose keys and values are near the units, by --kv-near
    cache_bytes   of all layers
    outside       values and scratch that lie outside the scratchpad, where caches do: bytes by name
    buffer_bytes  of each of the two buffers for weights, which begin at `buffers`, behind all values; 0: there are none
    chunk         tokens that are computed together, of a prompt or of several sequences; 1: token by token
    sequences     that the caches have room for, each with a part of its own in those of a layer: `sequence_bytes` by base from one
                  part to the next. finish_together: the end of the model is computed for all of them together
    shown         tokens of a chunk whose logits are computed together, if the host asks for those of all; 0: one after the other
    turns         the tokens of a chunk go through the layers in two halves that take turns (lowering/turns.py)
    framed        the values that each token of a chunk has in its frame: `slots` says where in the first one, the others follow
                  every frame_bytes
    limit         for all but frames: beyond it nothing stays, so that a larger scratchpad never has less room for it
    """

    machine: Preset
    context: int
    slots: dict[str, Slot] = field(default_factory=dict)
    caches: dict[str, Cache] = field(default_factory=dict)
    layer_bytes: dict[str, int] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    near: NearCaches = field(default_factory=NearCaches)
    cache_bytes: int = 0
    outside: dict[str, int] = field(default_factory=dict)
    buffers: int = 0
    beside: tuple[str, ...] = ()            # names that keep bytes beside the buffers
    buffer_bytes: int = 0
    residency: Residency = field(default_factory=Residency)     # what of weights and caches stays in the scratchpad
    reached: bool = True        # the units read weights and caches where these lie
    chunk: int = 1
    sequences: int = 1
    sequence_bytes: dict[str, int] = field(default_factory=dict)
    finish_together: bool = False
    shown: int = 0
    turns: bool = False
    framed: frozenset[str] = frozenset()
    frames: int = 0
    frame_bytes: int = 0
    limit: int = 0

    @property
    def scratchpad_bytes(self) -> int:
        return max(self.buffers + 2 * self.buffer_bytes, self.residency.end, self.frames + self.chunk * self.frame_bytes,
                   *(slot.end for slot in self.slots.values()))

    @property
    def beside_frames(self) -> int:
        """Bytes in front of the buffers that are no frames."""
        return self.buffers - self.chunk * self.frame_bytes * bool(self.framed)

    def size(self, value: Value) -> int:
        """Bytes of a value, with room for every position."""
        return BYTES[value.format] * prod(map(self.extent, value.shape))

    def extent(self, length: int | str) -> int:
        """A length of a shape, with room for every position."""
        return EXTENTS[length](self.context) if isinstance(length, str) else length

    def cache_size(self, base: str, layer: int) -> int:
        """Bytes of the keys, or values, of a layer."""
        return self.sequences * self.part_size(base, layer)

    def part_size(self, base: str, layer: int) -> int:
        """Bytes of those that one sequence has in it."""
        whole = self.sequence_bytes[base]
        if not self.rows:
            return whole
        last = max((cache for cache in self.caches.values() if cache.base == base), key=lambda cache: cache.offset)
        return _up(whole - (self.context - self.rows[layer]) * last.row_bytes)

    def cache_start(self, base: str, layer: int) -> int:
        """Bytes of the keys, or values, of all layers before this one."""
        return sum(self.cache_size(base, before) for before in range(layer))

    def moves(self, layers: int) -> list[int]:
        """The layers before which the registers of weights and caches are set, as the layer before lies elsewhere or is larger."""
        return list(range(1, layers)) if self.apart else self.residency.moves(layers)

    @property
    def apart(self) -> bool:
        """Whether keys and values of a layer do not begin behind those of the one before, by the same bytes everywhere."""
        return bool(self.rows) or self.near.size > 0

    @property
    def cached(self) -> int:
        """Of how many layers, from the first one on, keys and values are in the scratchpad alone."""
        return self.near.stays or self.residency.cached

    def split(self, graph: Graph) -> Graph:
        """The graph with a body of its own for layers of one body of which other things are near."""
        near = self.near
        return self.residency.split(graph, lambda layer: (layer < near.stays) + 2 * (layer in near.turns))

    def overlap(self, a: str, b: str) -> bool:
        """Whether two values, or caches, have bytes in common."""
        return a == b or (a in self.slots and b in self.slots and self.slots[a].overlaps(self.slots[b]))

    def _free(self, live: Mapping[str, Slot], name: str, size: int) -> Slot:
        """The first gap for a value beside those that are live: in a frame, or in what all tokens share."""
        return _place([slot for other, slot in live.items() if (other in self.framed) == (name in self.framed)], size)

    def add(self, sizes: Mapping[str, int], beside: Iterable[str]) -> None:
        """Place more names. They may share bytes with any value except each other and those in `beside`."""
        live = {name: self.slots[name] for name in beside if name not in self.outside}
        if self.sequences > 1:              # while one is sampled for, the others' frames are full
            live["frames"] = Slot(self.frames, self.chunk * self.frame_bytes)
        for name, size in sizes.items():
            self.slots[name] = live[name] = _place(live.values(), size)
        self._check()

    def fill(self) -> None:
        """Let what is left of the scratchpad be the two buffers."""
        self.buffer_bytes = (self.machine.region(SRAM).size - self.buffers) // (2 * ALIGN) * ALIGN

    def _check(self) -> None:
        room = self.machine.region(SRAM).size
        if self.scratchpad_bytes > room:
            whose = "a token" if self.chunk == 1 else f"{self.chunk} tokens of a prompt ({self.frame_bytes:,} bytes for each)"
            raise RoomError("", f"machine {self.machine.name}", region=SRAM, expected=f"at most {room:,}",
                            got=f"the values of {whose} take {self.scratchpad_bytes:,} bytes of scratchpad for {self.context} "
                                f"positions, {self.largest()}",
                            hint=f"{self.scratchpad_bytes - room:,} bytes are missing")

    def largest(self) -> str:
        """What takes most of the scratchpad beside the buffers, with its bytes; one name for each place."""
        named = {self.slots[name]: name for name in reversed(self.beside or tuple(self.slots))}
        return most({name: slot.size for slot, name in named.items()})


def plan_memory(graph: Graph, context: int, machine: Preset, scratch: Mapping[str, int], *, reached: bool,
                outside: Collection[str] = (), chunk: int | None = None, sequences: int = 1, turns: bool = False) -> MemoryPlan:
    """Place every value. Names in `scratch` keep their bytes all the time. Raises RoomError if there is no room.

    outside   values that lie outside the scratchpad
    chunk     tokens of a prompt that are computed together; None: as many as there is room for
    sequences  that run side by side; of several, a chunk has a token of each
    turns     two halves of a chunk take turns: each token needs a list of its own
    """
    room, most_tokens = machine.region(SRAM).size, MOST_CHUNK if chunk is None else chunk
    together = sequences > 1 and "logits" not in outside
    if sequences > 1:
        most_tokens = max(most_tokens, sequences)

    def placed(framed: frozenset[str]) -> MemoryPlan:
        plan = MemoryPlan(machine, context, reached=reached, framed=framed, sequences=sequences, finish_together=together,
                          turns=turns, rows=graph.rows(context))
        plan.outside = {name: plan.size(graph.values[name]) for name in sorted(outside)}
        _place_values(plan, graph, scratch)
        return plan

    framed = most_tokens > 1 or bool(graph.cuts)             # a prompt that is cut always goes through the code for chunks
    own = {HEAD, "active"} if turns else {HEAD}
    shows = framed and sequences == 1 and not graph.cuts and head_product(graph) is not None
    across = across_groups(graph, finish=together or shows) - ({"logits"} if shows else frozenset())
    plan = placed(across | own if framed else frozenset())
    if framed:
        most_tokens = max(sequences, min(most_tokens, context))
        fits = int(room * FRAMES_SHARE) // plan.frame_bytes
        plan.chunk = most_tokens if chunk is not None else max(sequences, min(most_tokens, fits))
        if plan.chunk == 1 and not graph.cuts:
            plan = replace(placed(frozenset()), frame_bytes=plan.frame_bytes)
    plan._check()
    plan.buffers, plan.beside = plan.scratchpad_bytes, tuple(plan.slots)
    if shows and plan.chunk > 1:
        _place_part(plan, graph)
    plan.limit = room if chunk is not None else _limit(room, most_tokens, plan.frame_bytes)
    return plan


def _place_part(plan: MemoryPlan, graph: Graph) -> None:
    """Place a part of the logits in frames, in the largest gap beside what the product with the head reads: the rest of a frame is
    free by then."""
    product = graph.finish[head_product(graph) or 0]
    used = [plan.slots[name] for name in (HEAD, *product.inputs) if name in plan.framed]
    starts = [_up(slot.end) for slot in used]
    ends = {start: min([slot.offset for slot in used if slot.offset >= start], default=plan.frames + plan.frame_bytes)
            for start in starts}
    start = max(starts, key=lambda start: ends[start] - start)
    if (size := (ends[start] - start) // 4 * 4) >= 4 * LEAST_PART:
        plan.slots[PART], plan.framed = Slot(start, size), plan.framed | {PART}


def _limit(room: int, tokens: int, frame_bytes: int) -> int:
    """What is left beside frames, of `tokens` at most, of a scratchpad of `room` bytes: no less than of any smaller one.

    Frames come one by one as the scratchpad grows, so what they leave falls each time. This is their share without the steps.
    """
    share, first = int(room * FRAMES_SHARE), 2 * frame_bytes            # there is no single frame: one token is no chunk
    if share < first:
        return min(room, int(first / FRAMES_SHARE) - first)
    return room - min(share, tokens * frame_bytes)


def _place_values(plan: MemoryPlan, graph: Graph, scratch: Mapping[str, int]) -> None:
    """Place values and caches, without buffers."""
    framed = plan.framed
    appends = [[op.outputs for op in body.ops if op.kind.startswith("append") and not graph.values[op.outputs[0]].behind]
               for body in graph.bodies]
    for appended in zip(*appends, strict=True):
        _caches(plan, graph, appended)
    for outputs in (op.outputs for body in graph.bodies for op in body.ops):        # what is kept beside keys and values
        if behind := tuple(name for name in outputs if graph.values[name].behind and name not in plan.caches):
            _caches(plan, graph, [behind])
    plan.sequence_bytes = dict(plan.layer_bytes)
    plan.layer_bytes = {base: plan.sequences * size for base, size in plan.layer_bytes.items()}
    plan.cache_bytes = sum(plan.cache_start(base, graph.config.layers) for base in plan.layer_bytes)
    of_cuts = [cut.ops for cut in graph.cuts] or [[]]
    sections = [graph.start, _merged([body.ops for body in graph.bodies]), _merged(of_cuts), graph.finish]
    crossing = [name for name in graph.values if name not in ("token", "position", *plan.caches, *plan.outside)
                and sum(any(name in (*op.inputs, *op.outputs) for op in ops) for ops in sections) > 1]
    if framed:
        head = HEAD_BYTES + WITH_ROW * bool(graph.cuts) + WITH_SEQUENCE * (plan.sequences > 1)
        plan.slots[HEAD], crossing = Slot(0, head), [HEAD, *crossing]
    for name, size in ({name: plan.size(graph.values[name]) for name in crossing if name != HEAD} | dict(scratch)).items():
        plan.slots[name] = plan._free(plan.slots, name, size)
    for ops in sections:
        _section(plan, graph, ops, (*crossing, *scratch))
    if framed:                                  # until now offsets in a frame; the frames are behind what all tokens share
        plan.frames = _up(max((slot.end for name, slot in plan.slots.items() if name not in framed), default=0))
        plan.frame_bytes = _up(max(plan.slots[name].end for name in framed))
        plan.slots |= {name: Slot(plan.frames + plan.slots[name].offset, plan.slots[name].size) for name in framed}


def _merged(bodies: Sequence[Sequence[Op]]) -> list[Op]:
    """One list with the operations of all bodies: each body's are in it in their order, and read what any of them reads.

    So a plan for this list is right for every body.
    """
    result = list(bodies[0])
    for ops in bodies[1:]:
        at = 0
        for op in ops:
            found = next((there for there in range(at, len(result)) if result[there].outputs == op.outputs), None)
            if found is None:
                result.insert(at, op)
            else:
                at, same = found, result[found]
                result[at] = replace(same, inputs=tuple(dict.fromkeys((*same.inputs, *op.inputs))))
            at += 1
    return result


def _caches(plan: MemoryPlan, graph: Graph, appended: Sequence[Sequence[str]]) -> None:
    """Place caches that one operation appends to, in each body of the graph; the first one of the first body is the base.

    Scales with a row for each position stand behind the codes in the same row; others follow behind all codes. A layer with fewer
    heads than another leaves the rest of its rows free, or of its part: so positions and layers are as far apart everywhere.
    """
    every = [[graph.values[name] for name in names] for names in appended]
    base = every[0][0].behind or appended[0][0]
    at = plan.layer_bytes.get(base, 0)
    if len(every[0]) > 1 and all(len(value.shape) == 2 and value.shape[0] == every[0][0].shape[0] for value in every[0]):
        widths = [[-(-BYTES[value.format] * int(value.shape[1]) // 4) * 4 for value in values] for values in every]
        row = max(map(sum, widths))
        for names, values, own in zip(appended, every, widths, strict=True):
            for number, (name, value) in enumerate(zip(names, values, strict=True)):
                plan.caches[name] = Cache(base, at + sum(own[:number]), row, (row, BYTES[value.format]))
        plan.layer_bytes[base] = _up(at + plan.extent(every[0][0].shape[0]) * row)
        return
    pairs = list(zip(*appended, strict=True))
    for names in reversed(pairs) if plan.rows else pairs:           # the rows of positions come last: there may be fewer of them
        whole = max(plan.size(graph.values[name]) for name in names)
        for name in names:
            value, size = graph.values[name], BYTES[graph.values[name].format]
            row = whole // plan.context if value.shape[0] == "positions" else plan.extent(value.shape[-1]) * size
            strides = (row, size)[-len(value.shape):]
            plan.caches[name] = Cache(base, at, size if value.shape[-1] == "positions" else row, strides)
        at = _up(at + whole)
    plan.layer_bytes[base] = at


def _section(plan: MemoryPlan, graph: Graph, ops: Sequence[Op], crossing: Sequence[str]) -> None:
    beside = max((number for number, op in enumerate(ops) if op.kind.startswith(BESIDE)), default=0)
    last = {name: max(number, beside) for number, op in enumerate(ops) for name in (*op.inputs, *op.outputs)
            if name not in crossing}
    for group in groups(ops):
        if group.by_head:                       # the last head's product reads its inputs behind the first head's context
            last |= {name: max(last.get(name, 0), group.first + len(group.ops) - 1) for name in group.ops[0].inputs
                     if name not in crossing}
    live = {name: plan.slots[name] for name in crossing}
    for number, op in enumerate(ops):
        dying = [name for name in op.inputs if last.get(name) == number and name in live]
        for name in op.outputs:
            if name in live or name in plan.caches or name in plan.outside:
                continue
            size = plan.size(graph.values[name])
            instead = next((other for other in dying if op.kind in IN_PLACE and live[other].size == size
                            and (other in plan.framed) == (name in plan.framed)), None)
            plan.slots[name] = live[name] = live[instead] if instead else plan._free(live, name, size)
        for name in (*dying, *(name for name in op.outputs if last.get(name) == number)):
            live.pop(name, None)


def _place(live: Iterable[Slot], size: int) -> Slot:
    """The first gap of this size between slots that are in use."""
    at = 0
    for slot in sorted(live, key=lambda slot: slot.offset):
        if at + size <= slot.offset:
            break
        at = max(at, _up(slot.end))
    return Slot(at, size)


def _up(size: int) -> int:
    return -(-size // ALIGN) * ALIGN
