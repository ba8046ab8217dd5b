"""The call stack: which function called which, found from registers, stack and code.

Programs here have no unwind tables. A function starts at a symbol of kind func, at the entry, or at the target of a call. Its
frame is found from the instructions between its start and pc: those that move sp, and those that save ra and s0 on the stack or
load them back. A return address is believed only if the instruction before it is a call. Where one of these steps fails, the
trace ends and says why.
"""

from __future__ import annotations

from bisect import bisect_right
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from emulator.debug.access import DebugError, code_words, read_number
from isa.arithmetic import s32
from isa.engine.state import WORD
from isa.instruction import TABLE, find
from isa.reference import ReferenceMachine

RA, SP, T0, FP = 1, 2, 5, 8
_KEPT = (RA, FP)                    # registers that a trace needs back
_MOST = 1000                        # frames

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Call:
    """A function that has not returned yet. `pc` is where it is, or where it goes on when its call returns."""

    pc: int
    sp: int
    function: int               # address where it starts


@dataclass
class _State:
    """What the instructions of a function have done to its stack frame so far."""

    depth: int = 0                                          # bytes from sp up to its value on entry
    saved: dict[int, int] = field(default_factory=dict)     # register -> where it is saved, as an offset from there
    frame: int | None = None                                # s0 as an offset from there, when it is a frame pointer
    lost: bool = False                                      # ra was overwritten by a call and not saved


def is_call(word: int) -> bool:
    """True for a jump that puts a return address into a link register (psABI: ra, or t0 for a helper)."""
    row = find(word)
    return row is not None and row.mnemonic in ("jal", "jalr") and row.decode(word)["rd"] in (RA, T0)


def backtrace(machine: ReferenceMachine) -> tuple[list[Call], str]:
    """The calls, the innermost first; and why the trace ends, "" if the last one is the start of the program."""
    code = code_words(machine)
    starts = _function_starts(machine, code)
    calls: list[Call] = []
    pc, registers = machine.pc, {RA: machine.x[RA], SP: machine.x[SP], FP: machine.x[FP]}
    while len(calls) < _MOST:
        # A call, or the instruction that ends the program, may be the last one of its function.
        inside = pc - 4 if calls or machine.exit_code is not None else pc
        words, base = _around(code, inside)
        place = bisect_right(starts, inside) - 1
        if words is None or place < 0 or starts[place] < base:
            return [*calls, Call(pc, registers[SP], pc)], f"{pc:#x} is in no known function"
        start = starts[place]
        calls.append(Call(pc, registers[SP], start))
        if machine.program is not None and start == machine.program.entry:
            return calls, ""
        state = _scan(words[(start - base) // 4:(pc - base) // 4])
        top = (registers[SP] + state.depth if state.frame is None or FP not in registers else registers[FP] - state.frame) & WORD
        if top < registers[SP]:
            return calls, f"the frame at {start:#x} ends below sp"
        if RA not in state.saved and (state.lost or RA not in registers):
            return calls, f"the function at {start:#x} has not saved its return address"
        try:
            kept = {register: read_number(machine, top + offset, 8) for register, offset in state.saved.items()}
        except DebugError as error:
            return calls, f"the frame at {start:#x} is not there: {error}"
        target = kept.get(RA, registers.get(RA, 0))
        words, base = _around(code, target - 4)
        if words is None or target % 4 or not is_call(int(words[(target - 4 - base) // 4])):
            return calls, f"the return address {target:#x} does not follow a call"
        pc, registers = target, {SP: top} | ({FP: kept.get(FP, registers[FP])} if FP in registers else {})
    return calls, f"more than {_MOST} frames"


def _around(code: list[tuple[int, Words]], address: int) -> tuple[Words | None, int]:
    """The words of the executable section that holds an address, and where it starts."""
    for base, words in code:
        if base <= address < base + 4 * len(words):
            return words, base
    return None, 0


def _named(words: Words, *mnemonics: str) -> list[int]:
    """Positions of the instructions with these names."""
    hits = np.zeros(len(words), np.bool_)
    for row in (TABLE[name] for name in mnemonics):
        hits |= (words & row.mask) == row.match
    positions: list[int] = hits.nonzero()[0].tolist()
    return positions


def _function_starts(machine: ReferenceMachine, code: list[tuple[int, Words]]) -> list[int]:
    starts = {machine.program.entry} | {s.value for s in machine.program.symbols if s.kind == "func"} if machine.program else set()
    for base, words in code:
        for i in _named(words, "jal", "jalr"):
            if not is_call(int(words[i])):
                continue
            row = find(int(words[i]))
            values = row.decode(int(words[i])) if row else {}
            if "rs1" not in values:
                starts.add(base + 4 * i + values["imm"])
            elif i and (words[i - 1] & TABLE["auipc"].mask) == TABLE["auipc"].match:
                upper = TABLE["auipc"].decode(int(words[i - 1]))
                if upper["rd"] == values["rs1"]:
                    starts.add((base + 4 * (i - 1) + s32(upper["imm"] << 12) + values["imm"]) & WORD)
    return sorted(starts)


def _scan(words: Words) -> _State:
    """What the instructions from a function's start up to pc did, in the order of their addresses.

    After a return in the middle of a function, the frame is again as it was in the body.
    """
    state = body = _State()
    for i in _named(words, "addi", "sd", "ld", "jal", "jalr"):
        word = int(words[i])
        row = find(word)
        assert row is not None
        values = row.decode(word)
        match row.mnemonic, values.get("rd"), values.get("rs1"):
            case "addi", 2, 2:                                      # addi sp, sp, n
                state.depth -= values["imm"]
                if values["imm"] < 0:
                    body = deepcopy(state)
            case "addi", 8, 2:                                      # addi s0, sp, n
                state.frame = values["imm"] - state.depth
                body = deepcopy(state)
            case "sd", _, 2 if values["rs2"] in _KEPT:              # sd ra, n(sp)
                state.saved.setdefault(values["rs2"], values["imm"] - state.depth)
                body = deepcopy(state)
            case "ld", 1 | 8 as register, 2 if state.saved.get(register) == values["imm"] - state.depth:
                del state.saved[register]
                if register == FP:
                    state.frame = None
            case "jal" | "jalr", 1 | 5 as link, _:
                state.lost |= link == RA and RA not in state.saved
            case "jalr", 0, 1:                                      # ret
                state = deepcopy(body)
    return state
