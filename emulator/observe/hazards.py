"""The hazard check: which instructions touch bytes of an operation that nothing made them wait for.

The machine's units work beside the core, each through its own queue. The emulator executes in program order, so it never sees
that a wait is missing. This hook does. It keeps the order of the queues (isa/queues.py) and, for each queue, which operation
read or wrote each byte last. An instruction has a hazard if it touches bytes of an operation that it does not know to be done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emulator.observe.intervals import LastTouch, Ranges, ranges
from isa.disassembly import format_instruction
from isa.effects import counters
from isa.instruction import Row
from isa.program import place_text
from isa.queues import CORE, QUEUES, Action, Order, Tag, edges, queue_of
from isa.reference import ReferenceMachine, Step

STOPPED = "hazard"                                      # RunResult.reason of a run that the check has stopped


@dataclass(frozen=True)
class InstructionAt:
    """An instruction of the program, and where it stands."""

    pc: int
    text: str               # "fetch.copy s0, s2, s5"
    symbol: str             # "tile+0x10", or "" without symbols
    place: str              # "file.s:12", or "" without source lines

    def __str__(self) -> str:
        return f"{self.text:<32} at {place_text(self.pc, self.symbol, self.place)}"


@dataclass(frozen=True)
class Hazard:
    """`later` touches bytes of `earlier` without having waited for it.

    `kind` is "read after write", "write after write" or "write after read". `address` and `size` are the first such bytes.
    """

    kind: str
    earlier: InstructionAt
    later: InstructionAt
    address: int
    size: int
    region: str
    symbol: str             # of the bytes, "" when they have no name
    missing: str            # the wait that would have been right

    def __str__(self) -> str:
        verb, _, before = self.kind.partition(" after ")
        return (f"{self.kind} without a wait\n"
                f"  {before + ':':<8} {self.earlier}\n"
                f"  {verb + ':':<8} {self.later}\n"
                f"  bytes:   {self.address:#x}..{self.address + self.size:#x} in {self.region}"
                + (f" <{self.symbol}>" if self.symbol else "") + f"\n  missing: {self.missing}")


class HazardCheck:
    """Looks on while `machine` runs, from now on. What was issued before counts as done.

    The run stops behind the first hazard, with reason "hazard". With `every` it goes on, and each pair of instructions is
    reported once. `hazards` are those found.
    """

    def __init__(self, machine: ReferenceMachine, every: bool = False) -> None:
        self.machine, self.every = machine, every
        self.hazards: list[Hazard] = []
        self._order = Order()
        self._signals: dict[int, tuple[int, int]] = {}          # the latest signal of each tag: its site and queue
        self._writes = [LastTouch() for _ in QUEUES]            # of operations that the core does not know to be done
        self._reads = [LastTouch() for _ in QUEUES]
        self._touched = (*self._writes[1:], *self._reads[1:])
        self._sites: dict[tuple[int, int], int] = {}            # number of an instruction by (pc, word)
        self._seen: set[tuple[int, int]] = set()                # pairs of sites that were reported
        machine.hook(self._look, _matters)

    def detach(self) -> None:
        """End the check: the machine runs on without it."""
        self.machine.unhook(self._look)

    # ---------------------------------------------------------------------------------------------- order

    def _look(self, _machine: ReferenceMachine, step: Step) -> None:
        if step.trap is not None or step.row is None or step.word is None:
            return                                              # a trap is precise: nothing was touched
        row, site = step.row, self._sites.setdefault((step.pc, step.word), len(self._sites))
        if queue_of(row) == CORE and not edges(row):
            self._look_at_core(step, site)
        for action, queue, tag in edges(row):
            number = 0 if tag is None else step.values["tag"] if tag is Tag.OPERAND else self.machine.csr("fetch.tag")
            match action:
                case Action.ISSUE:
                    self._issue(queue, step, site)
                case Action.SIGNAL if number:
                    self._order.signal(queue, number)
                    self._signals[number] = site, queue
                case Action.WAIT:
                    learnt = self._order.wait(queue, number)
                    self._forget(learnt if queue == CORE else [])
                case Action.FENCE:
                    self._forget(self._order.fence())
                case Action.RESULT:
                    self._forget(self._order.result(queue))

    def _look_at_core(self, step: Step, site: int) -> None:
        reads, writes = [*step.reads, (step.pc, 4)], _written(step)     # code may be written by a unit, too
        if any(touched.reaches(*access) for access in (*reads, *writes) for touched in self._touched):
            self._check(CORE, site, ranges(reads), ranges(writes))

    def _issue(self, queue: int, step: Step, site: int) -> None:
        read, written = ranges(step.reads), ranges(_written(step))
        self._check(queue, site, read, written)
        number = self._order.issue(queue)
        self._reads[queue].touch(read, number, site)
        self._reads[queue].forget(written)                      # a wait for the write is one for earlier reads, too
        self._writes[queue].touch(written, number, site)

    def _forget(self, queues: list[int]) -> None:
        """Forget what the core knows to be done in these queues: all that it issues later knows it too."""
        for queue in queues:
            self._writes[queue].forget_until(self._order.core[queue])
            self._reads[queue].forget_until(self._order.core[queue])

    # ---------------------------------------------------------------------------------------------- bytes

    def _check(self, who: int, site: int, read: Ranges, written: Ranges) -> None:
        for queue in range(1, len(QUEUES)):
            if queue != who:
                known = self._order.knows(who, queue)
                for kind, earlier, touched in (("read after write", self._writes[queue], read),
                                               ("write after write", self._writes[queue], written),
                                               ("write after read", self._reads[queue], written)):
                    for row in earlier.later_than(known, touched).tolist():
                        self._report(kind, who, queue, site, earlier, row, touched)

    def _report(self, kind: str, who: int, queue: int, site: int, earlier: LastTouch, row: int, touched: Ranges) -> None:
        before = int(earlier.sites[row])
        if (before, site) in self._seen or (self.hazards and not self.every):
            return
        self._seen.add((before, site))
        number, start, end = int(earlier.numbers[row]), int(earlier.starts[row]), int(earlier.ends[row])
        first = int(np.searchsorted(touched[1], np.uint64(start), "right"))
        start, end = max(start, int(touched[0][first])), min(end, int(touched[1][first]))
        program = self.machine.program
        symbol = program.symbol_at(start) if program is not None else ""
        self.hazards.append(Hazard(kind, self._site(before), self._site(site), start, end - start,
                                   self.machine.region_name(start), symbol, self._missing(who, queue, number)))
        if not self.every:
            self.machine.stop(STOPPED)

    def _missing(self, who: int, queue: int, number: int) -> str:
        """The wait that would make operation `number` of a queue known to `who`."""
        name = QUEUES[queue]
        preset = self.machine.preset
        if not preset.has_unit("sync"):
            return f"a {name} operation that returns a value, between the two: machine {preset.name} has no sync unit"
        wait = "sync.wait" if who == CORE else f"sync.wait.{QUEUES[who]}"
        behind = [(self._signals[tag][1] != queue, known, tag) for tag, known in self._order.signalled(queue, number)]
        if behind:                                              # the first that its own unit signalled, if there is one
            *_, tag = min(behind)
            site, _ = self._signals[tag]
            signal = self._site(site)
            return f"{wait} on tag {tag}, which `{signal.text}` at {signal.pc:#x} signals; or sync.fence"
        signal_by = "fetch.tag, or sync.signal.fetch after it" if name == "fetch" else f"sync.signal.{name} after it"
        return f"a signal ({signal_by}), and {wait} on its tag; or sync.fence"

    def _site(self, site: int) -> InstructionAt:
        pc, word = list(self._sites)[site]
        program = self.machine.program
        return InstructionAt(pc, format_instruction(word, pc), program.symbol_at(pc) if program is not None else "",
                    program.line_at(pc) if program is not None else "")


def _written(step: Step) -> list[tuple[int, int]]:
    """(address, bytes) of what an instruction wrote."""
    return [(address, len(data)) for address, data in step.writes]


def _matters(_pc: int, row: Row | None) -> bool:
    """True for instructions that touch memory or make a queue wait. The fast engine executes the rest at full speed."""
    return row is not None and (row.is_xslim or not {"core.loads", "core.stores", "core.services"}.isdisjoint(counters(row)))
