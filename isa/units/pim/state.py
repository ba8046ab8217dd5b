"""The banks' state in the words of meanings: which channels, which rows are open, which mode; and what a wrong command is told.

Meanings of all three levels go through here, so that they check alike and count alike. Channels and banks are arrays of numbers.
A function that changes the state does so when the instruction completes; it is called once in an instruction for a state array.
"""

from __future__ import annotations

import numpy as np

from isa.traps import Cause, Trap

SB, HAB, HAB_PIM = range(3)
MODES = ("SB", "HAB", "HAB_PIM")
CLOSED = -1


def illegal(value, detail):
    """The trap of a command that the banks' state, or the machine, does not allow."""
    return Trap(Cause.ILLEGAL_OPERAND, int(value), detail)


def selected(m):
    """Numbers of the channels in the masks, rising, (channels,). Traps for none and for one that the machine does not have."""
    masks = np.array([m.csr("pim.channel_mask"), m.csr("pim.channel_mask1"),
                      m.csr("pim.channel_mask2"), m.csr("pim.channel_mask3")], "<u8")
    channels = np.flatnonzero(np.unpackbits(masks.view(np.uint8), bitorder="little"))
    if not len(channels):
        raise illegal(0, "no channel is selected: all of pim.channel_mask to pim.channel_mask3 are 0")
    if channels[-1] >= m.preset.banks.channels:
        raise illegal(channels[-1], f"channel {channels[-1]} is selected; {m.preset.name} has channels "
                                    f"0..{m.preset.banks.channels - 1}")
    return channels


def check(m, what, number):
    """Trap unless `number` is one of a bank, row or column ("bank", "row", "column")."""
    size = m.preset.banks.sizes[what]
    if number >= size:
        raise illegal(number, f"{what} {number}; {m.preset.name} has {what}s 0..{size - 1}")


def all_banks(m):
    """Numbers of the banks of a channel, (banks,)."""
    return np.arange(m.preset.banks.banks)


def rows_of(m, channels, banks):
    """Open row of each of these banks: (channels, banks), CLOSED for none."""
    return m.state["pim.open_row"].reshape(-1, m.preset.banks.banks)[np.ix_(channels, banks)].astype(np.int64)


def set_rows(m, channels, banks, row):
    """Set the open row of each of these banks; CLOSED: none. `row` may be an array (channels, banks)."""
    rows = m.state["pim.open_row"].reshape(-1, m.preset.banks.banks).copy()
    rows[np.ix_(channels, banks)] = row
    m.set_state("pim.open_row", rows)


def expect_mode(m, channels, what, *modes):
    """Trap unless all channels are in one of these modes, which `what` needs."""
    for channel in channels:
        mode = m.state["pim.mode"][channel]
        if mode not in modes:
            names = " or ".join(MODES[mode] for mode in modes)
            raise illegal(mode, f"channel {channel} is in mode {MODES[mode]}; {what} needs {names}")


def set_modes(m, channels, mode):
    """Set the mode of the channels."""
    modes = m.state["pim.mode"].copy()
    modes[channels] = mode
    m.set_state("pim.mode", modes)
    m.count("pim.mode_switches", len(channels))


def expect_open(m, channels, banks, what):
    """The open row of each bank, (channels, banks). Traps for a closed one, which `what` does not allow."""
    rows = rows_of(m, channels, banks)
    for i, j in np.argwhere(rows == CLOSED)[:1]:
        raise illegal(banks[j], f"bank {banks[j]} of channel {channels[i]} has no open row; {what} needs one: activate it first")
    return rows


def activate(m, channels, banks, row):
    """Open a row in each of these banks. Traps for a bank that has one open."""
    check(m, "row", row)
    rows = rows_of(m, channels, banks)
    for i, j in np.argwhere(rows != CLOSED)[:1]:
        raise illegal(banks[j], f"bank {banks[j]} of channel {channels[i]} has row {rows[i, j]} open; an activation needs a closed "
                                "bank: precharge it first")
    set_rows(m, channels, banks, row)
    m.count("pim.activations", rows.size)
    m.count("pim.any_opening")


def precharge(m, channels, banks):
    """Close these banks; a closed one stays so."""
    m.count("pim.precharges", np.count_nonzero(rows_of(m, channels, banks) != CLOSED))
    set_rows(m, channels, banks, CLOSED)


def open_row(m, channels, banks, row):
    """Open a row in each of these banks as AiM's controller does for a macro form: activate a closed bank, precharge one
    where another row is open. Counts an access of each bank. Traps for channels that are not in SB."""
    check(m, "row", row)
    expect_mode(m, channels, "a macro form", SB)
    rows = rows_of(m, channels, banks)
    hits, closed = np.count_nonzero(rows == row), np.count_nonzero(rows == CLOSED)
    conflicts = rows.size - hits - closed
    m.count("pim.row_hits", hits)
    m.count("pim.row_conflicts", conflicts)
    m.count("pim.precharges", conflicts)
    m.count("pim.activations", closed + conflicts)
    m.count("pim.any_opening", int(closed + conflicts > 0))
    m.count("pim.any_conflict", int(conflicts > 0))
    set_rows(m, channels, banks, row)


def count_commands(m, kind, channels, each):
    """Count column commands, of the counter `kind`: `each` to every one of these channels."""
    m.count(kind, len(channels) * each)
    m.count("pim.slots", each)


def addresses(m, channels, banks, rows, columns):
    """Linear addresses of columns: (channels, banks, columns), `rows` a number or (channels, banks)."""
    rows = np.broadcast_to(np.asarray(rows), (len(channels), len(banks)))[:, :, None]
    return m.preset.banks.address(channels[:, None, None], banks[None, :, None], rows, np.asarray(columns)[None, None, :])
