"""The queues of a machine: which instruction goes through which queue, and who waits for whom.

The core puts each operation of a unit into the queue of that unit and goes on. Each queue is worked off in order. Between two
queues nothing is in order, except for what these rules say:

    signal     sync.signal.UNIT, and a fetch operation while fetch.tag is set: the tag stands for everything that the queue
               knows to be done once it gets there
    wait       sync.wait.UNIT: the later operations of a queue start when the latest signal of the tag has come;
               sync.wait: the core goes on when it has come. The latest signal is the last one before the wait in the program
    fence      sync.fence: the core goes on when every queue is empty
    result     an operation that returns a value in a register holds the core until it is done

Whatever the core knows to be done, each operation that it issues later knows too. A vector clock says all of this: `Order`.
The hazard check (emulator/observe/hazards.py) and the compiler (compiler/lowering/emit.py) ask it which waits are missing.

Source of the rules: isa/units/sync.py. Vector clocks: Fidge, "Timestamps in Message-Passing Systems That Preserve the Partial
Ordering", 1988; Mattern, "Virtual Time and Global States of Distributed Systems", 1989.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from isa.instruction import Row
from isa.units import UNITS
from isa.units.sync import TAGS

CORE = 0
QUEUE: dict[str, int] = {"core": CORE} | {unit.name: unit.queue for unit in UNITS.values() if unit.queue}
"""The number of each queue, by the name of its unit. The core, which issues, has number 0."""

QUEUES: tuple[str, ...] = tuple(sorted(QUEUE, key=QUEUE.__getitem__))
"""Names by number."""

assert [QUEUE[name] for name in QUEUES] == list(range(len(QUEUES))), f"queues need the numbers 1, 2, ...: {QUEUE}"

Clock = list[int]       # by queue: the number of its last operation that is known to be done, 0: none


def queue_of(row: Row) -> int:
    """The queue of an instruction; CORE for those that the core executes itself, `sync` among them."""
    return UNITS[row.unit].queue


class Action(Enum):
    """What an instruction can do to the order of the queues."""

    ISSUE = "an operation goes into a queue"
    SIGNAL = "a queue signals a tag"
    WAIT = "a queue, or the core, waits for a tag"
    FENCE = "the core waits for every queue"
    RESULT = "the core waits for the operation that was last issued"


class Tag(Enum):
    """Where the tag of a signal or a wait stands."""

    OPERAND = "the operand `tag`"
    FETCH_TAG = "the CSR fetch.tag; 0: there is no signal"


class Edge(NamedTuple):
    """An action of an instruction. `queue` is who issues, signals or waits; of a result, whose it is."""

    action: Action
    queue: int
    tag: Tag | None = None


def edges(row: Row) -> tuple[Edge, ...]:
    """All that an instruction does to the order of the queues, in order. Nothing for most instructions of the core.

    The one list that the hazard check and the clock (isa/timing/clock_rules.py) go by.
    """
    if row.unit == "sync":
        _, name, *unit = row.mnemonic.split(".")
        action = Action[name.upper()]
        return Edge(action, QUEUE[unit[0]] if unit else CORE, None if action is Action.FENCE else Tag.OPERAND),
    queue = queue_of(row)
    if queue == CORE:
        return ()
    made = [Edge(Action.ISSUE, queue)]
    if row.unit == "fetch":
        made.append(Edge(Action.SIGNAL, queue, Tag.FETCH_TAG))
    if row.result is not None:
        made.append(Edge(Action.RESULT, queue))
    return tuple(made)


class Order:
    """What the core and each queue know to be done, at one place of a program.

    Operations get rising numbers, from 1 on, as they are issued. The methods that end a wait return the queues of which the one
    who waited has learnt something.
    """

    def __init__(self) -> None:
        self.count = 0                                          # operations issued so far
        self.core: Clock = [0] * len(QUEUES)                    # what the core knows
        self._last: Clock = [0] * len(QUEUES)                   # the last operation of each queue
        self._known: list[Clock] = [self.core, *([0] * len(QUEUES) for _ in QUEUES[1:])]
        self._tags: dict[int, Clock] = {}                       # what the latest signal of a tag stands for

    def knows(self, who: int, queue: int) -> int:
        """The last operation of `queue` that an operation which is now issued to `who` knows to be done."""
        return max(self._known[who][queue], self.core[queue])

    def issue(self, queue: int) -> int:
        """An operation goes into a queue. Returns its number."""
        self.count += 1
        self._last[queue] = self._known[queue][queue] = self.count
        return self.count

    def signal(self, queue: int, tag: int) -> None:
        """`queue` signals `tag`."""
        self._tags[tag] = self._clock(queue)

    def wait(self, who: int, tag: int) -> list[int]:
        """`who` waits for `tag`. A tag that was not signalled here stands for nothing: what came before counts as done."""
        return self._learn(who, self._tags.get(tag, ()))

    def fence(self) -> list[int]:
        """The core waits until every queue is empty."""
        return self._learn(CORE, self._last)

    def result(self, queue: int) -> list[int]:
        """The core waits for the operation that was last issued to `queue`: it returns a value."""
        return self._learn(CORE, self._clock(queue))

    def signalled(self, queue: int, number: int) -> list[tuple[int, int]]:
        """The tags whose latest signal stands for operation `number` of `queue`: (tag, the last operation it stands for)."""
        return [(tag, clock[queue]) for tag, clock in self._tags.items() if clock[queue] >= number]

    def _clock(self, who: int) -> Clock:
        return [self.knows(who, queue) for queue in range(len(QUEUES))]

    def _learn(self, who: int, clock: Sequence[int]) -> list[int]:
        known = self._known[who]
        new = [queue for queue, number in enumerate(clock) if number > known[queue]]
        for queue in new:
            known[queue] = clock[queue]
        return new


class PairTags:
    """Tags that order one unit's queue behind another's: one for each pair that a program orders, given out at its first use.

    Not every pair can have a tag: n queues make n * (n - 1) pairs, more than there are tags from nine queues on. Each pair has a
    preferred tag above the `reserved` ones, which the program uses in other ways. If another pair has it, the next free tag is
    taken. `queues` are those of units, without the core.
    """

    def __init__(self, reserved: int = 0, queues: int = len(QUEUES) - 1) -> None:
        self._first, self._queues = reserved + 1, queues
        self._tags: dict[tuple[int, int], int] = {}

    def tag(self, signals: int, waits: int) -> int:
        """The tag that queue `signals` signals and queue `waits` waits for. Raises OverflowError when no tag is left."""
        pair, room, taken = (signals, waits), TAGS - self._first, {*self._tags.values()}
        if pair not in self._tags:
            if len(taken) == room:
                raise OverflowError(f"the program orders more than {room} pairs of queues; expected at most {room}: tags are "
                                    f"1..{TAGS - 1}, and {self._first - 1} of them are reserved")
            place = (signals - 1) * (self._queues - 1) + (waits - 1) - (waits > signals)
            tags = (self._first + (place + step) % room for step in range(room))
            self._tags[pair] = next(tag for tag in tags if tag not in taken)
        return self._tags[pair]
