"""The size of the tile buffers, and with it what stays in the scratchpad: chosen by what the code for each size would read.

    best, *others = sorted(choices(target, layout, memory, sampling), key=lambda choice: choice.score)

Where units do not reach weights in their memory, the scratchpad behind the values holds two buffers and what stays (residency.py).
A larger buffer takes room from what stays; a smaller one means more tiles, each with a start and often with a scale. Sizes are
LEAST x 1, 2, 4, 8 ..., and for each the code is written and its profile read. The fewest bytes from outside win, at the
middle of the context; of equal ones the shorter time, where the machine has rates; of equal ones the larger buffer, or none where
nothing streams. Sizes do not depend on the scratchpad, so bytes never rise with it.

If nothing streams there are no buffers. If LEAST has no room, the buffers are all that is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING

from compiler.errors import RoomError
from compiler.lowering import swaps
from compiler.lowering.emit import POSITIONS
from compiler.lowering.formula import Formula
from compiler.lowering.profile import CHOICE, STEP, TEXTS, Profile, Reads
from compiler.lowering.program import code
from compiler.lowering.residency import copies, has_table
from compiler.lowering.sampling import Room
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.residency import ALIGN, Residency, reside
from compiler.placing.weights import WeightLayout
from isa.regions import SRAM

if TYPE_CHECKING:
    from compiler.targets.target import Target

LEAST = 8192            # bytes of a buffer, where there is room: on slim-llama a copy then takes 34 times as long as its start


@dataclass(frozen=True)
class Choice:
    """A program with buffers of one size, and what it reads.

    target, layout, memory      as the code needs them: layers of which other things stay have a body of their own
    sampling                    where the numbers that a token is chosen by lie
    whole                       target and layout without such bodies
    profile, several            what code for one text reads; what that of several texts does, None where there is none
    """

    target: Target
    layout: WeightLayout
    memory: MemoryPlan
    sampling: Room
    whole: tuple[Target, WeightLayout] = field(repr=False)
    code: str = field(repr=False)
    profile: Profile = field(repr=False)
    several: Profile | None = field(repr=False)

    @property
    def exact(self) -> bool:
        """Whether the numbers below are what a run counts. Else they are the most: rows of active neurons depend on data."""
        profile = self.several or self.profile
        return profile.exact and not profile.unknown

    def reads(self, position: int, *, window: bool = True) -> Reads:
        """What a token at a position reads that is generated at temperature 0, not the last one. Near and far hold all of it.

        That is a token of one text. Of a program for several texts: `step`.
        """
        found = self._all(self.profile, {"start": 1, "finish": 1, CHOICE: 1}, "", self._held(position, window))
        found.add(swaps.reads(self.target.graph, self.memory, position))
        return found

    def step(self, positions: Sequence[int]) -> Reads:
        """What a step of several texts reads whose tokens are at these positions; all are generated at temperature 0, none is the
        last one of its text, and the host has given no other texts."""
        every = [self._step(len(positions), position) for position in positions]
        return Reads(**{name: sum(getattr(reads, name) for reads in every) // len(every) for name in vars(every[0])})

    def _step(self, texts: int, position: int, *, window: bool = True) -> Reads:
        """`step` with all texts at the same position: what each reads of its cache adds up."""
        assert self.several is not None
        finish = {"chunk_finish": 1} if self.memory.finish_together else {"finish": texts}
        return self._all(self.several, {"chunk_start": 1, **finish, STEP: 1, CHOICE: texts}, "chunk_",
                         self._held(position, window) | {TEXTS: texts})

    def _held(self, position: int, window: bool) -> dict[str, int]:
        """How many positions a token looks at, as a register holds it."""
        config = self.target.graph.config
        return {POSITIONS: min(position + 1, config.window if window and config.window else position + 1)}

    def _all(self, profile: Profile, sections: dict[str, int], prefix: str, held: dict[str, int]) -> Reads:
        """What sections read, so many times each, and all layers."""
        graph, config, found = self.target.graph, self.target.graph.config, Reads()
        for section, times in sections.items():
            found.add(profile.at(section, held), times)
        for body in graph.bodies:
            name = prefix + graph.name_of(body)
            found.add(profile.at(name, held), len(body.layers))
            found.add(profile.of_all(name))
        if has_table(graph, self.memory):
            found.variables += 8 * (config.layers + 1 + len(self.memory.moves(config.layers)))
        if self.memory.residency.variables:
            found.near += found.variables
        else:
            found.far += found.variables
        return found

    def formula(self, near: bool) -> Formula:
        """What is read of the scratchpad (near) or of the memory outside, as a formula of the positions looked at: by a token, or
        by a step of as many texts as the program is for, which look at as many positions each."""
        def reads(positions: int) -> int:
            found = (self._step(self.memory.sequences, positions - 1, window=False) if self.several else
                     self.reads(positions - 1, window=False))
            return found.near if near else found.far

        return Formula.of(reads, (self.several or self.profile).steps(POSITIONS))

    @property
    def loaded(self) -> int:
        """Bytes that are copied into the scratchpad at the program's start."""
        return sum(size for _, _, size, _ in copies(self.layout, self.memory))

    def cycles(self, position: int) -> int | None:
        """What copies from outside take the fetch unit for a token: starts and bytes. None for a machine without rates."""
        rates, home, reads = self.target.machine.rates, self.target.weights.region, self.reads(position)
        if rates is None:
            return None
        start = rates["fetch.start_cycles"] + rates.get(f"{home}.latency_cycles", 0)
        bytes_per_cycle = min(rates["fetch.bytes_per_cycle"], rates.get(f"{home}.bytes_per_cycle", rates["fetch.bytes_per_cycle"]))
        copied = reads.far - reads.variables * (not self.memory.residency.variables)
        return ceil(reads.copies * start + copied / bytes_per_cycle)

    def said(self, position: int) -> str:
        """The choice in words: its buffers, and what a token at a position reads and takes."""
        size, cycles = self.memory.buffer_bytes, self.cycles(position)
        return (f"{f'two buffers of {size:,} bytes' if size else 'no buffers'}; at position {position:,} "
                f"{self.reads(position).far:,} bytes of {self.target.weights.region}"
                + (f", {cycles:,} cycles to fetch them" if cycles is not None else ""))

    @property
    def score(self) -> tuple[int, int, int]:
        """The lower the better."""
        middle, size = self.memory.context // 2, self.memory.buffer_bytes
        reads = self.reads(middle)
        return reads.far, self.cycles(middle) or 0, -size if reads.copies else size


def choices(target: Target, layout: WeightLayout, memory: MemoryPlan, sampling: Room, *, resident: bool = True) -> list[Choice]:
    """A program for each size of the buffers for which there is room. Raises RoomError where there is none.

    Not `resident`: nothing stays, and the buffers are all that is left.
    """
    if not target.reached and not resident:
        memory.fill()
    if target.reached or not resident:
        return [_choice(target, layout, memory, sampling)]
    found, errors, stays = list[Choice](), list[RoomError](), list[object]()
    for size in _sizes(target, memory):
        start = max(memory.scratchpad_bytes, memory.buffers + 2 * size)
        start = -(-start // ALIGN) * ALIGN
        room = min(target.machine.region(SRAM).size - start, memory.limit - memory.beside_frames - 2 * size)
        fills = size and size < LEAST           # then there is no room for what could stay
        residency = Residency() if fills else reside(target.graph, layout, memory, start, room)
        if residency.what in stays:             # a larger buffer beside the same is never worse
            continue
        try:
            found.append(_choice(target, layout, replace(memory, buffer_bytes=size, residency=residency), sampling))
            stays.append(residency.what)
        except RoomError as error:
            errors.append(error)
    if not found:
        raise errors[-1]
    return found


def scarce(memory: MemoryPlan) -> bool:
    """Whether sampling takes room from what could stay: more than the buffers whose bytes it uses again."""
    return memory.scratchpad_bytes > memory.buffers + 2 * LEAST


def _sizes(target: Target, memory: MemoryPlan) -> list[int]:
    """Sizes of a buffer, falling, but none first: those of the list above, all that is left."""
    most = (target.machine.region(SRAM).size - memory.buffers) // (2 * ALIGN) * ALIGN
    sizes = [LEAST << power for power in range(32) if LEAST << power <= most]
    return [0, most, *reversed(sizes)]


def _choice(target: Target, layout: WeightLayout, memory: MemoryPlan, sampling: Room) -> Choice:
    whole, target = (target, layout), copy(target)
    target.graph = memory.split(target.graph)
    layout = layout.split([body.layers for body in target.graph.bodies])
    return Choice(target, layout, memory, sampling, whole, *code(target, layout, memory, sampling))
