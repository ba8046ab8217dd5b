"""Memories: how long DRAM and flash take for the bytes of an operation. A row has to be opened before its bytes move.

A region of a machine file may name a memory (DDR4-2400). Then this rule stands in place of latency_cycles and bytes_per_cycle. It
has two halves, so that no kernel knows a cycle.

**Events.** `begin` and `span` count what a memory does for an operation: bursts, rows opened, and so on. Each operand that lies
side by side, and each row of a gather, is one `span`, in the order in which the operation touches them. Only the address counts:

    bursts          column commands: pieces of burst_bytes that the bytes touch
    rows opened     another row was open in the bank, or none; the banks keep their rows from operation to operation
    worst bank      the most rows that one bank has opened
    slots           bursts that the busiest channel lets pass until the last one is done. The requester goes in order: it hands
                    over a burst a cycle and channel, and waits for a channel whose queue is full
    group turns     bursts that follow one of another bank group in their channel
    rank turns      the same for ranks

**Time.** `busy` makes cycles of the memory's clock of these; `finish` puts them on the clock, between refreshes. What the clock
calls:

    begin(events)
    span(events, figures, address, bytes)           for each operand or row, as an offset in the region
    end = finish(figures, events, place, writes, start)
    end = released(figures, events, place, start)   of a write: when its requester can go on

    place       the offset of the operation's first byte, where it reads or writes bytes side by side; -1 for a gather or a scatter
    writes      1 for writes, 0 for reads
    start, end  cycles of the memory's clock. An operation waits until the one before it has ended

`span` takes as long as there are rows to open, whatever they hold. `finish` takes the same time always, but for a linear operation
on a memory of several ranks: there it looks at each refresh, one in some thousand cycles, for whether it waits depends on the rank
that it has come to, and that on its waits.

How long bursts take:

    a burst                 BURST cycles of the bus, and tCCD_S behind one of another bank group
    in one bank group       tCCD_L. A queue that holds bursts of the next bank group too takes turns between both
    a row                   max(tRRD_S, tFAW / 4, t32AW / 32) for each that is opened, in each rank by itself
    another rank            tRTRS, where one rank cannot open rows as fast as the bus takes bursts
    a bank                  tRC for each row that it opens
    the first               tRCDRD + tCL + BURST

A refresh closes the banks of a rank, one a cycle, and takes tRFC. Ranks take turns. A linear operation waits if it is in that rank,
a gather goes on in other ranks until the queue is full. The queue of a channel holds `queue` bursts, and hands `bank_queue` of them
on for each bank (DRAMsim3's trans_queue_size and cmd_queue_size).

Two of these are reckoned, not looked up: how far a queue sees into the next bank group (what it holds, less what is read while that
row opens: `column_cycles`), and how many bursts of a channel wait before the requester does (`room`). No figure is fitted.

Flash reads pages: isa/timing/flash_rules.py.

Sources: DRAMsim3 2981759: the files of configs/ for figures, src/controller.cc and src/command_queue.cc for the queues,
src/timing.cc and src/refresh.cc for what has to be waited for: facts. The figures of a memory are in isa/timing/memories.py.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isa.timing.memories import FIELDS, Dram
from isa.timing.rates import rule

Words = npt.NDArray[np.int64]

# ------------------------------------------------------------------------------------------------ figures

_NUMBERS = ("channels", "ranks", "bank_groups", "banks", "burst_bytes", "burst", "tCL", "tCWL", "tRCDRD", "tRCDWR", "tRP", "tRC",
            "tCCD_S", "tCCD_L", "tRRD_S", "tFAW", "t32AW", "read_to_precharge", "tWR", "tRTRS", "tPPD", "tREFI", "tRFC", "queue",
            "bank_queue")
(CHANNELS, RANKS, GROUPS, BANKS, BURST_BYTES, BURST, CL, CWL, RCDRD, RCDWR, RP, RC, CCD_S, CCD_L, RRD_S, FAW, AW32, RTP, WR, RTRS,
 PPD, REFI, RFC, QUEUE, BANK_QUEUE) = range(len(_NUMBERS))
CHANNEL, RANK, GROUP, BANK, COLUMN, ROW = range(len(_NUMBERS), len(_NUMBERS) + 2 * len(FIELDS), 2)    # each: below it, its size
FIGURE_WORDS = ROW + 2


def figures_of(memory: Dram) -> Words:
    """The figures of a memory as the rules read them. Raises ValueError for a mapping that does not name each field once."""
    sizes = {"channel": memory.channels, "rank": memory.ranks, "group": memory.bank_groups, "bank": memory.banks,
             "column": memory.row_bytes // memory.burst_bytes, "row": memory.rows}
    order = memory.mapping.split()
    if sorted(order) != sorted(FIELDS):
        raise ValueError(f"mapping {memory.mapping!r} of {memory.name}; expected each of {', '.join(FIELDS)} once")
    words, below = [int(getattr(memory, name)) for name in _NUMBERS] + [0] * (2 * len(FIELDS)), 1
    for name in reversed(order):
        place = CHANNEL + 2 * FIELDS.index(name)
        words[place:place + 2] = below, sizes[name]
        below *= sizes[name]
    return np.array(words, np.int64)


def size_of(memory: Dram) -> int:
    """Bytes of a memory."""
    return memory.channels * memory.ranks * memory.bank_groups * memory.banks * memory.rows * memory.row_bytes


# ------------------------------------------------------------------------------------------------ events

BURSTS, OPENED, WORST, GROUP_TURNS, RANK_TURNS = range(5)       # of the operation
FIRST, HEAD, LATEST, OPERATION = 5, 6, 7, 8                     # in parts of a slot: begin, requester, busiest channel; the number
CHANNEL_STATE = 9                                               # of each: until when it is busy, its last group and rank
CHANNEL_WORDS = 3                                               # then of each bank: open row + 1, operation that counts, its rows
BANK_WORDS = 3


def events_of(figures: Words) -> Words:
    """The state of a memory that has not been used: no row open."""
    channels = int(figures[CHANNELS])
    banks = channels * int(figures[RANKS]) * int(figures[GROUPS]) * int(figures[BANKS])
    events = np.zeros(CHANNEL_STATE + CHANNEL_WORDS * channels + BANK_WORDS * banks, np.int64)
    events[CHANNEL_STATE:CHANNEL_STATE + CHANNEL_WORDS * channels].reshape(-1, CHANNEL_WORDS)[:, 1:] = -1
    return events


@rule
def parts(figures: Words) -> int:
    """Parts of a slot: bursts that the requester hands over to all channels while one channel has one on its bus."""
    return figures[CHANNELS] * max(figures[BURST], figures[CCD_S])


@rule
def begin(events: Words) -> None:
    """Begin to count the events of an operation."""
    for i in range(FIRST):
        events[i] = 0
    events[FIRST] = events[LATEST]
    events[HEAD] = events[LATEST]
    events[OPERATION] += 1


@rule
def slots(events: Words, figures: Words) -> int:
    """Slots of the operation so far."""
    of_slot = parts(figures)
    return (events[LATEST] - events[FIRST] + of_slot - 1) // of_slot


@rule
def room(figures: Words, bursts: int) -> int:
    """Bursts of a channel that wait before its requester does, if they come in runs of so many for a bank.

    A bank's queue takes the first of a run, the controller's queue the others."""
    if bursts <= figures[BANK_QUEUE]:
        return figures[QUEUE] + figures[BANK_QUEUE] * figures[RANKS] * figures[GROUPS] * figures[BANKS]
    return figures[QUEUE] * bursts // (bursts - figures[BANK_QUEUE])


@rule
def open_row(events: Words, figures: Words, burst: int, bursts: int) -> int:
    """A run of bursts in one row, the first at this place. Returns its channel."""
    channel = burst // figures[CHANNEL] % figures[CHANNEL + 1]
    rank = burst // figures[RANK] % figures[RANK + 1]
    group = burst // figures[GROUP] % figures[GROUP + 1]
    bank = burst // figures[BANK] % figures[BANK + 1]
    row = burst // figures[ROW] % figures[ROW + 1]
    place = CHANNEL_STATE + CHANNEL_WORDS * channel
    interleaved = bursts if figures[GROUP] < figures[COLUMN] and figures[GROUPS] > 1 else 1
    if interleaved > 1 or events[place + 1] != group or events[place + 2] != rank:
        events[GROUP_TURNS] += interleaved
    if events[place + 2] != rank:
        events[RANK_TURNS] += 1
    events[place + 1] = group
    events[place + 2] = rank
    place = (CHANNEL_STATE + CHANNEL_WORDS * figures[CHANNELS]
             + BANK_WORDS * (((channel * figures[RANKS] + rank) * figures[GROUPS] + group) * figures[BANKS] + bank))
    if events[place] != row + 1:
        events[place] = row + 1
        events[OPENED] += 1
        if events[place + 1] != events[OPERATION]:
            events[place + 1] = events[OPERATION]
            events[place + 2] = 0
        events[place + 2] += 1
        events[WORST] = max(events[WORST], events[place + 2])
    return channel


@rule
def span(events: Words, figures: Words, address: int, count: int) -> None:
    """Count the bursts of `count` bytes side by side from this offset of the memory on."""
    if count == 0:
        return
    low = figures[COLUMN]                                       # places side by side that lie in different banks or channels
    block = low * figures[COLUMN + 1]
    of_slot = parts(figures)
    first = address // figures[BURST_BYTES]
    end = (address + count - 1) // figures[BURST_BYTES] + 1
    events[BURSTS] += end - first
    while first < end:
        last = min(end, (first // block + 1) * block)
        start, latest, longest = events[HEAD], 0, 0
        for i in range(min(low, last - first)):
            burst = first + i
            bursts = (last - burst + low - 1) // low
            longest = max(longest, bursts)
            place = CHANNEL_STATE + CHANNEL_WORDS * open_row(events, figures, burst, bursts)
            events[place] = max(events[place], start) + bursts * of_slot
            latest = max(latest, events[place])
        events[LATEST] = max(events[LATEST], latest)
        events[HEAD] = max(start + last - first, latest - room(figures, longest) * of_slot)
        first = last


# ------------------------------------------------------------------------------------------------ time


@rule
def column_cycles(figures: Words, events: Words) -> int:
    """Cycles of the bus for all bursts, of all channels together."""
    bursts, near, far = events[BURSTS], max(figures[BURST], figures[CCD_S]), max(figures[BURST], figures[CCD_L])
    if figures[GROUPS] == 1:
        return bursts * near
    seen = figures[QUEUE] + figures[BANK_QUEUE] - (figures[RP] + figures[RCDRD] + far - 1) // far
    shared = min(bursts, events[GROUP_TURNS] * 2 * max(seen, 1))
    return bursts * far - shared * (far - near)


@rule
def busy(figures: Words, events: Words, writes: int) -> int:
    """Cycles from the first command to the last byte, without refresh."""
    bursts, opened = events[BURSTS], events[OPENED]
    if bursts == 0:
        return 0
    cycles = column_cycles(figures, events)
    window = max(figures[RRD_S] * 32, max(figures[FAW] * 8, figures[AW32]))          # of 32 rows in a rank
    if opened * window > 32 * cycles:
        cycles += events[RANK_TURNS] * figures[RTRS]
    cycles = max(cycles, (opened * window + 32 * figures[RANKS] - 1) // (32 * figures[RANKS]))
    cycles = (cycles * slots(events, figures) + bursts - 1) // bursts
    cycles = max(cycles, events[WORST] * figures[RC])
    if writes:
        return figures[RCDWR] * min(opened, 1) + cycles
    return figures[RCDRD] * min(opened, 1) + figures[CL] + figures[BURST] + cycles


@rule
def posted(figures: Words, events: Words) -> int:
    """Bursts of a channel that a write leaves behind in the queues: its requester can go on when these are still to be written."""
    banks = figures[GROUPS] if figures[GROUP] < figures[COLUMN] else 1         # that take turns, burst by burst
    return min(slots(events, figures), figures[QUEUE] + figures[BANK_QUEUE] * banks)


@rule
def refresh_cycles(figures: Words, writes: int) -> int:
    """Cycles that a refresh takes from a rank in use: close all its banks, refresh, open a row again."""
    recover = figures[CWL] + figures[BURST] + figures[WR] if writes else figures[RTP]
    return recover + figures[GROUPS] * figures[BANKS] * figures[PPD] + figures[RP] + figures[RFC] + figures[RCDRD]


@rule
def refreshed(start: int, cycles: int, interval: int, lost: int) -> int:
    """When so many cycles of work are done that begin at `start`. A refresh is due every interval, and takes `lost` cycles."""
    if interval == 0 or cycles == 0 or lost <= 0:
        return start + cycles
    due = (start // interval + 1) * interval
    if start + cycles <= due:
        return start + cycles
    return start + cycles + lost * (1 + (start + cycles - due) // max(interval - lost, 1))


@rule
def linear_refreshed(figures: Words, events: Words, place: int, start: int, cycles: int, lost: int) -> int:
    """The same for a linear operation on several ranks, which take turns to refresh: it waits when it is in that rank."""
    ranks, bursts = figures[RANKS], events[BURSTS]
    interval = figures[REFI] // ranks
    due = (start // interval + 1) * interval
    stay = max(figures[RANK] * cycles // bursts, 1)             # cycles in a rank
    done = place // figures[BURST_BYTES] % (figures[RANK] * ranks) * cycles // bursts
    last = done + cycles
    now = start
    while now + last - done > due:
        done += due - now
        now = due
        refreshing = (due // interval - 1) % ranks
        if done // stay % ranks == refreshing:
            now += lost
        elif (done // stay + 1) % ranks == refreshing:
            now += max(lost - (stay - done % stay), 0)
        due += interval
    return now + last - done


@rule
def on_the_clock(figures: Words, events: Words, place: int, writes: int, start: int, cycles: int) -> int:
    """The cycle in which so many cycles of an operation are done that begin at `start`, with the refreshes between them."""
    ranks, lost = figures[RANKS], refresh_cycles(figures, writes)
    if place >= 0 and ranks > 1 and figures[REFI] > 0 and events[BURSTS] > 0:
        return linear_refreshed(figures, events, place, start, cycles, lost)
    others = (ranks - 1) * (figures[QUEUE] + figures[BANK_QUEUE]) * max(figures[BURST], figures[CCD_S])
    return refreshed(start, cycles, figures[REFI] // ranks, lost - others)


@rule
def finish(figures: Words, events: Words, place: int, writes: int, start: int) -> int:
    """The cycle in which the operation's last byte has moved."""
    return on_the_clock(figures, events, place, writes, start, busy(figures, events, writes))


@rule
def released(figures: Words, events: Words, place: int, start: int) -> int:
    """The cycle in which the requester of a write can go on: the queues hold the rest."""
    count = slots(events, figures)
    cycles = busy(figures, events, 1)
    if count > 0:
        cycles = cycles * (count - posted(figures, events)) // count
    return on_the_clock(figures, events, place, 1, start, cycles)
