"""The traps of an instruction's entry are those that it raises: each that is listed is provoked, no other one comes.

Each instruction is started from operands, CSRs and state with which it completes, and then with one of them, or two, spoilt.
Whatever traps must be listed with its cause, with the mtval that the entry gives, an operand or an expression of the function that
raises it, and with its reason. Addresses know from which operand or CSR they come, so that the entry must name that one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from random_xslim import cases
from starts import SRAM, Start, filled, starts

import asm
from isa.csrs import CSRS
from isa.effects import TrapRule, csrs, trap_rules, traps
from isa.engine.operand_checks import check_operands
from isa.instruction import LONGEST, TABLE, Row
from isa.program import Program, Section
from isa.reference import ReferenceMachine, TrapReport
from isa.traps import Cause, Trap
from isa.units import UNITS

TEXT, MMIO, NOWHERE, FLASH, HBM = 0x8000_0000, 0x200_0000, 0x10, 0x10_0000_0000, 0x20_0000_0000
XSLIM = [row for row in TABLE.values() if row.is_xslim]
WORD = (1 << 64) - 1


class From(int):
    """A number that knows from which operand or CSR it comes; so does its sum with another number."""

    origin: str

    def __new__(cls, value: int, origin: str) -> From:
        number = super().__new__(cls, value)
        number.origin = origin
        return number

    def __add__(self, other: int) -> From:
        return From(int(self) + int(other), self.origin)

    __radd__ = __add__


@pytest.fixture(autouse=True)
def operands_know_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(m: ReferenceMachine, row: Row, values: dict[str, int]) -> None:
        values |= {name: From(value, name) for name, value in values.items() if row.operand(name).access}
        check_operands(m, row, values)

    monkeypatch.setattr("isa.reference.check_operands", check)


class Watching(ReferenceMachine):
    """Keeps the last trap with the values that its function had."""

    last: Trap | None = None

    def csr(self, name: str) -> int:
        return From(super().csr(name), name)

    def _enter_trap(self, trap: Trap, word: int | None) -> TrapReport | None:
        self.last = trap
        return super()._enter_trap(trap, word)


@cache
def machine() -> Watching:
    made = Watching("slim")
    made.load(Program([Section(".text", "ax", TEXT, 4, [bytes(4096)]), Section(".weights", "a", FLASH, 4096, [bytes(4096)])],
                      [], [], TEXT))
    return made


# ------------------------------------------------------------------------------------------------ one start


def execute(row: Row, start: Start) -> Trap | None:
    """Execute one instruction on the slim machine; its trap."""
    m = machine()
    numbers = {operand.name: 10 + i if operand.is_register else 0 for i, operand in enumerate(row.operands)}
    for name, value in start.values.items():
        m.x[numbers[name]] = value & WORD
    for csr in CSRS.values():
        m.csr_values[csr.address] = csr.reset
    for name, value in start.csrs.items():
        m.set_csr(name, value)
    for name, array in m.state.items():
        if name.startswith(row.unit):
            array[:] = filled(array, start.state.get(name, -1 if name == "pim.open_row" else 0))
    m.peek(TEXT, 4).view("<u4")[0] = row.encode(numbers)
    m.pc, m.last = TEXT, None
    m.step()
    return m.last


def spoilt(row: Row) -> Iterator[Start]:
    """Starts with one thing wrong, and some with two."""
    start = starts(row)[-1]
    yield start
    wrong: list[Start] = []
    for operand in row.operands:
        if operand.access:
            wrong += [Start({operand.name: address}) for address in (
                NOWHERE, NOWHERE + 1, MMIO, FLASH, FLASH + 8192, SRAM + 1, SRAM + 2, WORD - 3, HBM - 4)]
        elif operand is not row.result:
            wrong += [Start({operand.name: value}) for value in (0, 1, 3, 5, 8, 64, 300, 70_000 if row.unit == "lut" else 5000,
                                                                 LONGEST + 1, 1 << 63, WORD)]
    for name in csrs(row):
        wrong += [Start(csrs={name: value}) for value in (0, 1, 3, 5, 12, 64, NOWHERE, MMIO, FLASH, SRAM + 1, 1 << 40, 1 << 63,
                                                          WORD)]
    for array in UNITS[row.unit].state:
        wrong += [Start(state={array.name: value}) for value in (0, 1, 2, 0x7F, 0xE000_0800 if array.name == "pim.crf" else 3)
                  if _sound(row, {**start.state, array.name: value})]
    if row.mnemonic.startswith("attn.wrgb"):                # more channels than the query buffer has
        wrong.append(Start(state={"attn.model": [8, 4, machine().parameter("attn.channels"), 0, 8]}))
    if "vec.shifts" in csrs(row):                           # what is no shift: bytes of the instruction
        wrong.append(Start(csrs={"vec.shifts": TEXT}))
    if row.unit == "attn":                                  # no heads at all
        wrong.append(Start(state={"attn.model": 0, "attn.loaded": 0}))
    yield from (start | one for one in wrong)
    for one, other in zip(wrong, wrong[len(wrong) // 2:] + wrong[:len(wrong) // 2], strict=True):
        both = start | one | other
        if _sound(row, both.state):
            yield both


def _sound(row: Row, state: dict[str, Any]) -> bool:
    """Is this a state that instructions can have left?"""
    m = machine()
    try:
        arrays = {name: filled(array, state.get(name, 0)) for name, array in m.state.items() if name.startswith(row.unit)}
        return UNITS[row.unit].sound(arrays, m.parameter)
    except OverflowError:
        return False


# ------------------------------------------------------------------------------------------------ the rule behind a trap


def rule_of(row: Row, trap: Trap, values: dict[str, int]) -> TrapRule:
    """The rule of the entry that a trap follows. Fails where there is none, or where mtval or the reason is another."""
    frames = []
    at = trap.__traceback__
    while at is not None:
        frames.append(at.tb_frame)
        at = at.tb_next
    for rule in trap_rules(row):
        if rule.cause is trap.cause and _follows(rule, trap, frames, values) and _says(rule, trap):
            return rule
    pytest.fail(f"{row.mnemonic}: {trap.cause.name} with mtval {trap.value:#x} is in no line of its entry: {trap.detail}")


MEMORY = (Cause.LOAD_ACCESS, Cause.STORE_ACCESS, Cause.PORT, Cause.MISALIGNED_OPERAND)


def _says(rule: TrapRule, trap: Trap) -> bool:
    """Is the reason of the trap the one of the rule? Of memory the rule has its own words, of a length too."""
    if rule.cause in MEMORY or rule.mtval == "the instruction" or rule.when.endswith("is more than 2**28"):
        return True
    parts = (re.split(r"\{[^{}]*\}", text) for text in rule.when.split(" / "))
    return any(re.fullmatch(".*".join(map(re.escape, words)), trap.detail, re.DOTALL) for words in parts)


def _follows(rule: TrapRule, trap: Trap, frames: list[Any], values: dict[str, int]) -> bool:
    if rule.mtval == "the instruction":
        return True                                                 # the machine puts it there
    if rule.cause in MEMORY:
        address = next(frame for frame in frames if frame.f_code.co_name in ("check_read", "check_write")).f_locals["address"]
        if rule.mtval == "the address" or address & WORD != trap.value:
            return address & WORD == trap.value
        assert isinstance(address, From), "where does this address come from?"
        if any(frame.f_code is check_operands.__code__ for frame in frames):
            return f"`{address.origin}`" in rule.mtval.split(" or ") and values[address.origin] & WORD == trap.value
        name = f"what `{address.origin}` points to" if address.origin in CSRS else f"`{address.origin}`"
        accesses = re.fullmatch("where an access to (.*) starts", rule.mtval)
        return accesses is not None and name in accesses[1].split(" or ")
    names = {frame.f_code.co_name for frame in frames}
    if rule.place is not None and rule.place.name.rpartition(".")[2] not in {*names, *(type(frame.f_locals.get("self")).__name__
                                                                                       for frame in frames)}:
        return False
    if rule.place is None and rule.mtval.strip("`") in values and values[rule.mtval.strip("`")] & WORD == trap.value:
        return True
    for frame in reversed(frames):
        try:
            value = eval(rule.mtval.strip("`"), frame.f_globals, frame.f_locals)
        except (NameError, AttributeError, KeyError, TypeError):
            continue
        if isinstance(value, int | np.integer) and int(value) & WORD == trap.value & WORD:
            return True
    return False


# ------------------------------------------------------------------------------------------------ the tests


@pytest.mark.parametrize("row", XSLIM, ids=lambda row: row.mnemonic)
def test_each_listed_trap_is_raised_and_no_other(row: Row) -> None:
    raised = {Cause.ILLEGAL_INSTRUCTION}        # on a machine without the unit: tests/emulator/test_trap_order.py
    completed = 0
    machine().peek(SRAM, 0x4_0000)[:] = 0               # what an earlier test has left
    if row.mnemonic == "thr.index":                     # a mask of zeros writes no index
        machine().peek(starts(row)[-1].values["mask"], 16)[:] = 0xFF
    if row.mnemonic == "thr.ranges":                    # nor does a range that is empty
        machine().peek(starts(row)[-1].values["bounds"], 64).view(np.uint32)[:] = range(16)
    with np.errstate(all="ignore"):
        for start in spoilt(row):
            trap = execute(row, start)
            if trap is None:
                completed += 1
            else:
                rule_of(row, trap, start.values)
                raised.add(trap.cause)
    assert completed, "no start was good"
    assert raised == set(traps(row))


@pytest.mark.parametrize("row", [row for row in TABLE.values() if not row.is_xslim], ids=lambda row: row.mnemonic)
def test_each_listed_trap_of_the_core_is_raised_and_no_other(row: Row) -> None:
    m, raised = machine(), set()
    numbers = (0, 2, 0x300, 0x7C0, 0xC00)     # immediates; CSRs: there is no 0x7C0, and 0xC00 is read-only
    for first, second, number, handler in product((1, SRAM, FLASH, NOWHERE), (1, SRAM, NOWHERE), numbers, (0, TEXT)):
        fields = {operand.name: 10 + i if operand.is_register else number for i, operand in enumerate(row.operands)}
        if not all(operand.is_register or operand.field.fits(number) for operand in row.operands):
            continue
        m.x[10:13], m.x[17], m.exit_code = [first, second, second], 64, None            # also the service write
        m.set_csr("mtvec", handler)
        m.peek(TEXT, 4).view("<u4")[0] = row.encode(fields)
        m.pc, m.last = TEXT, None
        m.step()
        if m.last is not None:
            rule_of(row, m.last, {})
            raised.add(m.last.cause)
    assert raised == set(traps(row))


@settings(max_examples=60, deadline=None)
@given(cases)
def test_random_programs_trap_as_their_entries_say(case: Any) -> None:
    text, _ = case
    program = asm.assemble(text)
    m = Watching(program.machine)
    m.load(program)

    def look(_: ReferenceMachine, step: Any) -> None:
        if step.trap is not None and step.row is not None:
            assert m.last is not None
            behind, m.pc = m.pc, step.pc                            # mtval can be that of the instruction
            rule_of(step.row, m.last, {operand.name: m.x[step.fields[operand.name]]
                                       for operand in step.row.operands if operand.is_register})
            m.pc = behind
            assert step.trap in traps(step.row)

    m.hook(look)
    m.run(400)
