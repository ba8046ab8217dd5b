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

Sources: SLIM, arXiv 2507.09201, for pages and tR (from a third-party reading note); MQSim for planes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isa.timing.memories import Nand
from isa.timing.rates import rule

Words = npt.NDArray[np.int64]


CHANNELS, UNITS, PAGE_BYTES, READ_PS, MOVE_PS = range(5)        # UNITS: planes of a channel; MOVE_PS: a page on the bus


def figures_of(nand: Nand) -> Words:
    """The figures of a flash memory as the rules read them."""
    move = -(-nand.page_bytes * 10 ** 12 // nand.bytes_per_second)
    return np.array([nand.channels, nand.dies * nand.planes, nand.page_bytes, nand.read_ps, move], np.int64)


PAGES, ALL, WORST_CHANNEL, WORST_UNIT, OPERATION, LAST = range(6)       # ALL: pages that each plane has read; LAST: at hand, or -1
COUNTS = 6                      # of each channel, then of each plane: the operation that counts, its pages but for ALL


def events_of(figures: Words) -> Words:
    """The state of a flash memory that has not been read."""
    channels, units = int(figures[CHANNELS]), int(figures[UNITS])
    events = np.zeros(COUNTS + 2 * channels * (1 + units), np.int64)
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
def span(events: Words, figures: Words, address: int, count: int) -> None:
    """Count the pages of `count` bytes side by side from this offset of the flash on."""
    if count == 0:
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
    units, read, move = figures[UNITS], figures[READ_PS], figures[MOVE_PS]
    pages = events[ALL] * units + events[WORST_CHANNEL]
    turns = events[ALL] + events[WORST_UNIT]
    left = max(pages - (turns - 1) * units, 1)
    return max(read + pages * move, (turns - 1) * (read + move) + read + min(left, units) * move)
