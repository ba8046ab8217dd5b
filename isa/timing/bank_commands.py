"""Commands to banks, and when a memory controller may send them: activations, precharges, runs of columns, refreshes.

`b` are the words of the state, `r` the figures, `k` the place of a set of channels, `s` that of a slot, `kind` that of a kind:
bank_state.py. Times are cycles.
"""

from __future__ import annotations

from isa.timing.bank_state import (
    ACT_GROUP,
    BURST,
    BUS,
    CCDL,
    CCDS,
    CLOSABLE,
    CLOSED,
    CLOSES,
    DUE,
    INSIDE,
    LAST_ACT,
    LAST_COLUMN,
    LAST_GROUP,
    LAST_READ_END,
    LAST_WRITE_END,
    LAST_WRITES,
    LATEST_CLOSABLE,
    LATEST_CLOSED,
    LONG_AGO,
    MIXED,
    NO_GROUP,
    NOW,
    OPEN,
    OPENABLE,
    OPENED,
    OTHER_COLUMN,
    OTHER_GROUP,
    OUTSIDE,
    RAS,
    RC,
    RCD,
    RDREG,
    READ_RECOVERY,
    RECOVERS,
    REFI,
    REGISTER,
    RFC,
    RL,
    ROW,
    ROW_IS,
    RP,
    RRDL,
    RRDS,
    RTP,
    RTRS,
    SHUT,
    SHUT_END,
    TABLE,
    WINDOW,
    WINDOW_NEXT,
    WL,
    WR,
    WRITE_RECOVERY,
    WRITES,
    WRREG,
    WTRL,
    XAW,
    Words,
    is_open,
)
from isa.timing.rates import rule


@rule
def after_refresh(b: Words, r: Words, k: int, t: int, closable: int, opens: bool) -> int:
    """When a command comes that would come at t: behind a refresh, if one is due.

    An activation (`opens`) goes first while a bank keeps the refresh waiting, a column while its own bank may not be closed.
    """
    if r[REFI] == 0 or t < b[k + DUE]:
        return t
    b[k + DUE] += (t - b[k + DUE]) // r[REFI] * r[REFI]                 # those before fell into idle time
    sent = max(b[k + DUE], b[k + LATEST_CLOSED] + 1)
    if b[k + OPEN] > 0:                                                 # a precharge a cycle, then the refresh
        sent = max(sent + b[k + OPEN] - 1, b[k + LATEST_CLOSABLE]) + 1
    if t < (sent if opens else max(b[k + DUE], closable)):
        return t
    b[k + SHUT], b[k + SHUT_END] = sent, sent + r[RFC]
    b[k + DUE] += r[REFI]
    b[k + OPEN] = 0
    return max(t, sent + r[RFC])


@rule
def activate(b: Words, r: Words, k: int, s: int, group: int, row: int, earliest: int, turn: int) -> int:
    """Open a row of a closed slot. -> the cycle of the command."""
    apart = r[RRDS] if group != b[k + ACT_GROUP] and group != NO_GROUP and b[k + ACT_GROUP] != NO_GROUP else r[RRDL]
    window = k + WINDOW + b[k + WINDOW_NEXT]
    t = max(earliest, b[s + OPENABLE], b[k + SHUT_END], b[k + LAST_ACT] + apart, b[window] + r[XAW]) + turn
    t = after_refresh(b, r, k, t, t, True)
    b[window] = t
    b[k + WINDOW_NEXT] = (b[k + WINDOW_NEXT] + 1) % 4
    b[k + LAST_ACT], b[k + ACT_GROUP] = t, group
    b[s + ROW], b[s + OPENED], b[s + CLOSABLE], b[s + OPENABLE] = row, t, t + r[RAS], t + r[RC]
    b[k + LATEST_CLOSABLE] = max(b[k + LATEST_CLOSABLE], t + r[RAS])
    b[k + OPEN] += 1
    return t


@rule
def precharge(b: Words, r: Words, k: int, s: int, earliest: int, turn: int) -> int:
    """Close a slot, if a row is open. -> the cycle of the command, or `earliest`."""
    t = earliest
    if is_open(b, k, s):
        t = b[s + CLOSABLE] + turn
        if b[s + ROW] > CLOSED or b[s + ROW] <= MIXED:                  # a row of registers is closed as soon as that may be
            t = max(earliest, b[s + CLOSABLE]) + turn
        b[s + OPENABLE] = max(b[s + OPENABLE], t + r[RP])
        b[k + LATEST_CLOSED] = max(b[k + LATEST_CLOSED], t)
        b[k + OPEN] -= 1
    b[s + ROW] = CLOSED
    return t


@rule
def open_row(b: Words, r: Words, k: int, s: int, group: int, row: int, earliest: int, turn: int) -> bool:
    """Have a row open in a slot: close another one, open it. -> whether a command was needed. The first one takes the mode turn."""
    if is_open(b, k, s) and b[s + ROW] == row:
        return False
    if is_open(b, k, s):
        closed = precharge(b, r, k, s, earliest, turn)
        activate(b, r, k, s, group, row, max(earliest, closed + 1), 0)
    else:
        activate(b, r, k, s, group, row, earliest, turn)
    return True


@rule
def column_time(b: Words, r: Words, k: int, kind: int, group: int, earliest: int) -> int:
    """When the channel is ready for the first column of an operation."""
    t = max(earliest, b[k + NOW] + 1)
    if b[k + LAST_WRITES] == r[kind + WRITES]:
        for place in range(2):
            last, of = b[k + LAST_COLUMN + 3 * place], b[k + LAST_GROUP + 3 * place]
            t = max(t, last + (r[CCDL] if group == NO_GROUP or of in (group, NO_GROUP) else r[CCDS]))
    if r[kind + BUS] == INSIDE:
        return t
    if r[kind + WRITES]:
        latency = r[WL] if r[kind + BUS] == OUTSIDE else r[WRREG] - r[BURST]
        return max(t, b[k + LAST_READ_END] + r[RTRS] - latency)
    return max(t, b[k + LAST_WRITE_END] + r[WTRL])


@rule
def recovery(r: Words, kind: int) -> int:
    """From the last column of an operation to the precharge of its bank."""
    if r[kind + RECOVERS] == READ_RECOVERY:
        return r[RTP]
    return r[WL] + r[WR] + (r[BURST] if r[kind + RECOVERS] == WRITE_RECOVERY else 0)


@rule
def columns_in(b: Words, r: Words, k: int, kind: int, s: int, group: int, columns: int, earliest: int, turn: int) -> int:
    """A run of columns in the open row of a slot. -> the cycle of the last command."""
    row = b[s + ROW]
    t = max(column_time(b, r, k, kind, group, earliest), b[s + OPENED] + r[r[kind + RCD]]) + turn
    t = after_refresh(b, r, k, t, b[s + CLOSABLE], False)
    if not is_open(b, k, s):
        t = max(t, activate(b, r, k, s, group, row, earliest, 0) + r[r[kind + RCD]])
    last = t + (columns - 1) * r[CCDL]
    behind = recovery(r, kind)
    if r[REFI] > 0 and last >= b[k + DUE] and behind <= r[CCDL]:        # a refresh finds its way between two columns
        stop = max(b[k + DUE], b[s + CLOSABLE], t + 1)
        done = (stop - t + r[CCDL] - 1) // r[CCDL]
        if done < columns:
            before = t + (done - 1) * r[CCDL]
            b[s + CLOSABLE] = max(b[s + CLOSABLE], before + behind)
            b[k + LATEST_CLOSABLE] = max(b[k + LATEST_CLOSABLE], b[s + CLOSABLE])
            after_refresh(b, r, k, before + r[CCDL], b[s + CLOSABLE], False)
            if not is_open(b, k, s):
                t = activate(b, r, k, s, group, row, b[k + SHUT_END], 0) + r[r[kind + RCD]]
                last = t + (columns - done - 1) * r[CCDL]
                if last >= b[k + DUE]:                                  # a run of many refreshes: all cost the same
                    lost = behind + 1 + r[RFC] + r[r[kind + RCD]] - r[CCDL]
                    more = (last - b[k + DUE]) // (r[REFI] - lost) + 1
                    last += more * lost
                    b[k + DUE] += more * r[REFI]
    b[s + CLOSABLE] = max(b[s + CLOSABLE], last + behind)
    b[k + LATEST_CLOSABLE] = max(b[k + LATEST_CLOSABLE], b[s + CLOSABLE])
    note_columns(b, r, k, kind, group, last)
    return last


@rule
def note_columns(b: Words, r: Words, k: int, kind: int, group: int, last: int) -> None:
    """The channel has had columns, the last of them in this cycle. An activation function is none: it takes no data from a row."""
    b[k + NOW] = last
    if r[kind + ROW_IS] == TABLE:
        return
    if b[k + LAST_GROUP] != group or b[k + LAST_WRITES] != r[kind + WRITES]:
        b[k + OTHER_COLUMN], b[k + OTHER_GROUP] = b[k + LAST_COLUMN], b[k + LAST_GROUP]
        if b[k + LAST_WRITES] != r[kind + WRITES]:
            b[k + OTHER_COLUMN] = LONG_AGO
    b[k + LAST_COLUMN], b[k + LAST_GROUP], b[k + LAST_WRITES] = last, group, r[kind + WRITES]
    if r[kind + BUS] != INSIDE:
        if r[kind + WRITES]:
            b[k + LAST_WRITE_END] = last + (r[WL] + r[BURST] if r[kind + BUS] == OUTSIDE else r[WRREG])
        else:
            b[k + LAST_READ_END] = last + (r[RL] + r[BURST] if r[kind + BUS] == OUTSIDE else r[RDREG])


@rule
def completion(r: Words, kind: int, last: int) -> int:
    """When an operation is complete whose last column command is in this cycle."""
    if r[kind + BUS] == INSIDE:
        return last + 1
    if r[kind + BUS] == REGISTER:
        return last + (r[WRREG] if r[kind + WRITES] else r[RDREG])
    if r[kind + WRITES]:
        return last + r[WL] + r[BURST] + (r[RP] if r[kind + CLOSES] else 0)
    return last + r[RL] + r[BURST]
