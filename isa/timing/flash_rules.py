"""Flash: how long NAND takes for the pages of an operation.

A page is read from the array into the register of its plane, which takes tR, and moves over the bus of its channel, whole: its
error correction needs all of it. Planes read at the same time; a plane reads its next page when the one before has left its
register. Pages lie side by side over the channels, then over the planes of a channel: page p is in channel p % channels.

**Events.** `begin` and `span` count pages, in the order in which an operation touches them. The page touched last is at hand for
the next row, as fetch.pages counts it:

    pages           read
    worst channel   the most of one channel
    worst plane     the most of one plane

**Time.** What the clock calls, in picoseconds, for there is no clock to count by:

    begin(events)
    span(events, figures, address, bytes)           for each row, as an offset in the region
    ps = busy(figures, events)                      from the first command to the last byte

`span` takes as long as there are pages in a row, at most one of each plane; longer rows take no longer. `busy` is always as long.

    bus bound       tR, then the pages of the busiest channel one after the other
    array bound     the busiest plane's pages, tR and a page on the bus each; in its last turn as many planes follow on the bus
                    as the channel has pages left

**Processors.** Where the flash has some, the bytes of rows are worked on at the die, or at the channel, and what is slowest there
is all that takes time: the page register is double, so that a die reads its next page while the last one is worked on. As many
pages side by side as `stripe` says lie in one die; die d is in channel d % channels. `busy` is then the longest of

    a die           its pages times tR; with a processor at each die, also its bytes at the processor's rate
    a channel       with a processor at each channel: its pages on the bus, and its bytes at the processor's rate

Sources: SLIM, arXiv 2507.09201, for pages, tR and processors (from a third-party reading note); MQSim for planes. That reading and
work overlap completely is *assumed*.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isa.timing.memories import Nand
from isa.timing.rates import rule

Words = npt.NDArray[np.int64]


CHANNELS, UNITS, PAGE_BYTES, READ_PS, MOVE_PS = range(5)        # UNITS: planes of a channel; MOVE_PS: a page on the bus
PROCESSORS, WORK_PS, STRIPE = range(5, 8)                       # where they are; WORK_PS: KIB bytes in one of them
NONE, AT_CHANNEL, AT_DIE = range(3)
KIB = 1024


def figures_of(nand: Nand) -> Words:
    """The figures of a flash memory as the rules read them."""
    move = -(-nand.page_bytes * 10 ** 12 // nand.bytes_per_second)
    place = {"none": NONE, "channel": AT_CHANNEL, "die": AT_DIE}[nand.processors]
    work = -(-KIB * 10 ** 12 // nand.processed_per_second) if place else 0
    return np.array([nand.channels, nand.dies * nand.planes, nand.page_bytes, nand.read_ps, move, place, work, nand.stripe],
                    np.int64)


PAGES, ALL, WORST_CHANNEL, WORST_UNIT, OPERATION, LAST = range(6)       # ALL: pages that each plane has read; LAST: at hand, or -1
COUNTS = 6      # of each channel, then of each plane: the operation that counts, its pages but for ALL. With processors, of each
LONGEST = WORST_UNIT                                    # channel, then of each die: the operation, its pages, its bytes
"""With processors: picoseconds of the channel or die that takes longest."""


def events_of(figures: Words) -> Words:
    """The state of a flash memory that has not been read."""
    channels, units = int(figures[CHANNELS]), int(figures[UNITS])
    events = np.zeros(COUNTS + (3 if figures[PROCESSORS] else 2) * channels * (1 + units), np.int64)
    events[LAST] = -1
    return events


@rule
def begin(events: Words) -> None:
    """Begin to count the events of an operation."""
    for i in range(OPERATION):
        events[i] = 0
    events[OPERATION] += 1
    events[LAST] = -1


@rule
def one_more(events: Words, place: int) -> int:
    """Count a page of a channel or a plane; returns how many it has."""
    if events[place] != events[OPERATION]:
        events[place] = events[OPERATION]
        events[place + 1] = 0
    events[place + 1] += 1
    return events[place + 1]


@rule
def work_at(events: Words, place: int, pages: int, size: int) -> None:
    """Count pages and bytes of a channel or a die."""
    if events[place] != events[OPERATION]:
        events[place] = events[OPERATION]
        events[place + 1] = 0
        events[place + 2] = 0
    events[place + 1] += pages
    events[place + 2] += size


@rule
def span_near(events: Words, figures: Words, address: int, count: int) -> None:
    """The same as `span` where processors work on the bytes, which are at least one."""
    channels, everywhere, page_bytes = figures[CHANNELS], figures[CHANNELS] * figures[UNITS], figures[PAGE_BYTES]
    for page in range(address // page_bytes, (address + count - 1) // page_bytes + 1):
        size = min(address + count, (page + 1) * page_bytes) - max(address, page * page_bytes)
        pages = 0 if page == events[LAST] else 1
        die = page // figures[STRIPE] % everywhere
        at_channel, at_die = COUNTS + 3 * (die % channels), COUNTS + 3 * channels + 3 * die
        work_at(events, at_channel, pages, size)
        work_at(events, at_die, pages, size)
        longest, at = events[at_die + 1] * figures[READ_PS], at_die
        if figures[PROCESSORS] == AT_CHANNEL:
            longest, at = max(longest, events[at_channel + 1] * figures[MOVE_PS]), at_channel
        work = (events[at + 2] * figures[WORK_PS] + KIB - 1) // KIB
        events[LONGEST] = max(events[LONGEST], longest, work)
        events[PAGES] += pages
        events[LAST] = page


@rule
def span(events: Words, figures: Words, address: int, count: int) -> None:
    """Count the pages of `count` bytes side by side from this offset of the flash on."""
    if count == 0:
        return
    if figures[PROCESSORS] > 0:
        span_near(events, figures, address, count)
        return
    channels, everywhere = figures[CHANNELS], figures[CHANNELS] * figures[UNITS]
    page = address // figures[PAGE_BYTES]
    end = (address + count - 1) // figures[PAGE_BYTES] + 1
    if page == events[LAST]:
        page += 1
    events[LAST] = end - 1
    events[PAGES] += end - page
    stripes = (end - page) // everywhere
    events[ALL] += stripes
    page += stripes * everywhere
    for place in range(page, end):
        channel = place % channels
        unit = COUNTS + 2 * channels + 2 * (place % everywhere)
        events[WORST_CHANNEL] = max(events[WORST_CHANNEL], one_more(events, COUNTS + 2 * channel))
        events[WORST_UNIT] = max(events[WORST_UNIT], one_more(events, unit))


@rule
def busy(figures: Words, events: Words) -> int:
    """Picoseconds from the first command to the last byte."""
    if events[PAGES] == 0:
        return 0
    if figures[PROCESSORS] > 0:
        return events[LONGEST]
    units, read, move = figures[UNITS], figures[READ_PS], figures[MOVE_PS]
    pages = events[ALL] * units + events[WORST_CHANNEL]
    turns = events[ALL] + events[WORST_UNIT]
    left = max(pages - (turns - 1) * units, 1)
    return max(read + pages * move, (turns - 1) * (read + move) + read + min(left, units) * move)
