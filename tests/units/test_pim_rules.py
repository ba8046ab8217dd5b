"""pim: what the page says of many instructions at once, line by line, on both engines: which words are legal, what a step does, in
which order an instruction checks and with which mtval, what it counts. The tables are taken from the page's text."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from copy import deepcopy
from math import ceil, prod

import numpy as np
import pytest
from both_engines import SMALL, Pair, run_program
from crf_model import CLASSES, OPERATIONS, Channel, Refused
from csr_reads import csrs_that_are_read
from manual_tables import by_mnemonic, entry, events, table_in_text

import asm
from emulator.machine import Machine
from isa.csrs import CSRS
from isa.effects import csrs
from isa.instruction import TABLE, rows
from isa.preset import Preset, preset_of
from isa.reference import ReferenceMachine, Step
from isa.traps import Cause

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")      # test data overflows on purpose
TIMES = int(os.environ.get("SLIMULATOR_FUZZ", "240"))
ILLEGAL, MNEMONICS = int(Cause.ILLEGAL_OPERAND), [row.mnemonic for row in rows("pim")]
MODES = {"SB": 0, "HAB": 1, "HAB_PIM": 2}
OF_COLUMNS = ("read_commands", "write_commands", "compute_commands")
HBM, SRAM, DRAM = 0x20_0000_0000, 0x1000_0000, 0x8000_0000
SCRATCH = SRAM + 0x4000
SPECIAL = np.array([0, 0x8000, 1, 0x8001, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFE01, 0x3C00], np.uint16)


def machine(dram: int = 1 << 17, **banks: int | str) -> Preset:
    """SMALL with other banks."""
    data = SMALL.file.model_dump(exclude_none=True)
    for name, value in banks.items():
        data["unit"]["pim"]["parameters"][name]["value"] = value
    sizes = {name: data["unit"]["pim"]["parameters"][name]["value"] for name in ("channels", "banks", "rows", "columns")}
    data["region"]["hbm"]["size"]["value"] = prod(sizes.values()) * 32
    data["region"]["dram"]["size"]["value"] = dram
    return preset_of(data)


# Two banks a block and four in a group; a block for each bank, and 19 of them, so that bursts are not full; groups of two banks.
MACHINES = {"twos": SMALL,
            "ones": machine(channels=3, bank_groups=1, banks=19, rows=4, columns=16, blocks=19, mapping="row bank column channel"),
            "pairs": machine(channels=4, bank_groups=2, banks=4, rows=8, columns=16, blocks=4, mapping="channel bank row column")}


@pytest.fixture(scope="module", params=["twos", "ones"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(MACHINES[request.param])


CHECKS = by_mnemonic(table_in_text("pim", "What an instruction asks of the banks"))
EVENTS = by_mnemonic(table_in_text("pim", "What an instruction counts besides"))


def checks_of(mnemonic: str) -> list[str]:
    """What an instruction checks, first to last."""
    return [] if mnemonic.startswith("pim.ewadd") else entry(CHECKS, mnemonic).split()


class Start:
    """Channels 0 and 1, in the mode that an instruction needs, with rows that suit it; operands in range."""

    def __init__(self, pair: Pair, mnemonic: str, random: np.random.Generator) -> None:
        pair.fresh()
        self.pair, self.banks, self.row = pair, pair.reference.preset.banks, TABLE[mnemonic]
        self.mnemonic, self.random = mnemonic, random
        self.checks = checks_of(mnemonic)
        below = lambda most: int(random.integers(most))                             # noqa: E731
        banks, operands = self.banks, {operand.name for operand in self.row.operands}
        self.opsize = 1 + below(banks.columns // 2)
        self.csrs = {"pim.channel_mask": 3, "pim.column": below(banks.columns // 2), "pim.buffer_column": below(banks.columns // 2),
                     "pim.next_bank": 0, "pim.group_mask": (1 << 64) - 1}
        values = {"bank": below(banks.banks), "row": below(banks.rows), "column": below(banks.columns),
                  "parity": below(banks.banks_per_block), "index": below(4), "zeroed": below(4), "mode": below(8),
                  "opsize": self.opsize, **dict.fromkeys(("src", "dst", "x", "y", "table", "bias"), SCRATCH)}
        self.values = {name: values[name] for name in operands}
        pair.place(SCRATCH, random.integers(0, 256, 4096, np.uint8))
        closed = 1.0 if "closed" in self.checks else 0.0 if "open" in self.checks else 0.3
        shape = banks.channels, banks.banks
        self.rows = np.where(random.random(shape) < closed, -1, random.integers(0, 2, shape)).astype("<i4")
        modes = re.search(r"mode\((.*?)\)", " ".join(self.checks))
        self.mode = np.full(banks.channels, MODES[modes[1].split(",")[-1]] if modes else 0, "u1")
        self.crf = np.full(banks.channels * 32, 0, "<u4")           # NOPs

    @property
    def chosen(self) -> list[int]:
        """Banks of a channel that the instruction works on."""
        if "bank" in self.values:
            return [self.values["bank"]]
        if "parity" in self.values:
            return list(range(self.values["parity"], self.banks.banks, self.banks.banks_per_block))
        return list(range(self.banks.banks))

    def run(self, **options: bool):
        self.pair.csrs = dict(self.csrs)
        self.pair.start_state |= {"pim.open_row": self.rows.reshape(-1), "pim.mode": self.mode, "pim.crf": self.crf}
        return self.pair.run(self.mnemonic, **self.values, **options)


# ------------------------------------------------------------------------------------------------ counters


def opened_by(start: Start) -> list[int]:
    """Banks that a macro form opens, as the page says."""
    name, banks = start.mnemonic, start.banks
    if "run" not in start.checks:
        return []
    if name.startswith("pim.ewmul"):
        size = banks.banks // banks.bank_groups
        return [bank for bank in range(banks.banks) if bank % size < 3 and start.csrs["pim.group_mask"] >> bank // size & 1]
    if name.startswith("pim.mac_") and start.csrs["pim.next_bank"]:
        return sorted({(bank + more) % banks.banks for bank in start.chosen for more in (0, 1)})
    return start.chosen


@pytest.mark.parametrize("mnemonic", MNEMONICS)
def test_what_is_counted(pair: Pair, mnemonic: str) -> None:
    for seed in range(8):
        random = np.random.default_rng(seed)
        start = Start(pair, mnemonic, random)
        start.csrs["pim.next_bank"] = seed % 2
        start.csrs["pim.channel_mask"], chosen = (3, [0, 1]) if seed < 4 else (2, [1])
        banks = start.banks
        known = {"C": len(chosen), "K": banks.channels, "B": banks.banks, "P": banks.blocks, "n": start.opsize,
                 "G": banks.bank_groups, "D": 1 + start.csrs["pim.next_bank"], "ceil": ceil}
        expected: Counter[str] = Counter()
        if not mnemonic.startswith("pim.pre"):
            formulas = dict(events(entry(EVENTS, mnemonic)))
            expected += Counter({name: eval(formula, known) for name, formula in formulas.items()})
            expected["slots"] = sum(eval(formulas[name], known | {"C": 1, "K": 1}) for name in OF_COLUMNS if name in formulas)
        before = start.rows[chosen]
        if mnemonic.startswith("pim.pre"):
            expected["precharges"] += int(np.count_nonzero(before[:, start.chosen] >= 0))
        if opened := opened_by(start):
            of_form = before[:, opened]
            hits, closed = int(np.count_nonzero(of_form == start.values["row"])), int(np.count_nonzero(of_form < 0))
            conflicts = of_form.size - hits - closed
            expected += Counter(row_hits=hits, activations=closed + conflicts, row_conflicts=conflicts, precharges=conflicts)
        expected += Counter(any_opening=expected["activations"] > 0, any_conflict=expected["row_conflicts"] > 0)
        if mnemonic == "pim.wr.pim":                        # a NOP stores
            blocks = len(chosen) * banks.blocks
            expected += Counter(elements=16 * blocks, columns_written=blocks, bytes_stayed=32 * blocks)
        done = start.run()
        assert done.trap is None
        got = {name[4:]: count for name, count in done.counts.items() if name[:4] == "pim." and name != "pim.ops"}
        assert got == {name: count for name, count in expected.items() if count}, seed
        if opened:                                          # rows stay open
            after = pair.reference.state["pim.open_row"].reshape(start.rows.shape)
            assert (after[np.ix_(chosen, opened)] == start.values["row"]).all()


def test_every_instruction_has_its_lines() -> None:
    for name in MNEMONICS:
        assert name.startswith("pim.pre") or entry(EVENTS, name)
        assert name.startswith("pim.ewadd") or entry(CHECKS, name)
    assert all(any(name == key or name.startswith(f"{key}.") for name in MNEMONICS) for key in (*EVENTS, *CHECKS))


# ------------------------------------------------------------------------------------------------ order of checks


class Faults:
    """For each check: makes it fail, and returns mtval; for `dst` and `bias` the cause too."""

    def __init__(self, start: Start) -> None:
        self.start = start

    def make(self, check: str, number: int) -> tuple[int, int]:
        start = self.start
        name = check.partition("(")[0].replace("-", "_")
        operand = {"table_number": "mode"}.get(name, name)
        if operand in ("bank", "row", "column", "parity", "index", "zeroed") or name == "table_number":
            limit = {"bank": start.banks.banks, "row": start.banks.rows, "column": start.banks.columns, "zeroed": 4, "mode": 8,
                     "parity": start.banks.banks_per_block, "index": 4 if start.mnemonic == "pim.wr.crf" else 8}
            start.values[operand] = (limit[operand], (1 << 64) - 1)[number % 2]
            return ILLEGAL, start.values[operand]
        return getattr(self, name)(check, number)

    def channels(self, _: str, number: int) -> tuple[int, int]:
        if number % 2:
            start = self.start
            start.csrs["pim.channel_mask"] = 1 | 1 << start.banks.channels | 1 << 63
            return ILLEGAL, 63
        self.start.csrs["pim.channel_mask"] = 0
        return ILLEGAL, 0

    def mode(self, check: str, number: int) -> tuple[int, int]:
        allowed = {MODES[mode] for mode in check[5:-1].split(",")}
        wrong = sorted({0, 1, 2} - allowed)[number % (3 - len(allowed))]
        self.start.mode[number % 2:] = wrong
        return ILLEGAL, wrong

    def closed(self, _: str, number: int) -> tuple[int, int]:
        """The last bank of channel 0 and the first of channel 1 have an open row: the former comes first."""
        start = self.start
        if start.mnemonic == "pim.mode.hab":
            start.mode[:] = 0
        chosen = [bank for bank in start.chosen if bank < start.banks.banks] or [0]
        start.rows[0, chosen[-1]] = start.rows[1, chosen[0]] = number % 2
        return ILLEGAL, chosen[-1]

    def open(self, _: str, number: int) -> tuple[int, int]:
        start = self.start
        chosen = [bank for bank in start.chosen if bank < start.banks.banks] or [0]
        start.rows[0, chosen[-1]] = start.rows[1, chosen[0]] = -1
        return ILLEGAL, chosen[-1]

    def run(self, _: str, number: int) -> tuple[int, int]:
        start = self.start
        if "opsize" not in start.values:
            start.csrs["pim.column"] = (start.banks.columns, (1 << 64) - 1)[number % 2]
            return ILLEGAL, 1
        start.csrs["pim.column"] = start.banks.columns - start.values["opsize"] + 1
        if number % 2:
            start.values["opsize"], start.csrs["pim.column"] = 0, 0
        return ILLEGAL, start.values["opsize"]

    def buffer(self, _: str, number: int) -> tuple[int, int]:
        start = self.start
        start.csrs["pim.buffer_column"] = (start.banks.columns, (1 << 64) - 1)[number % 2]
        return ILLEGAL, start.values["opsize"]

    def groups(self, _: str, number: int) -> tuple[int, int]:
        self.start.csrs["pim.group_mask"] = (0, 1 << 63)[number % 2]
        return ILLEGAL, self.start.csrs["pim.group_mask"]

    def dst(self, _: str, number: int) -> tuple[int, int]:
        self.start.values["dst"] = 8
        return int(Cause.STORE_ACCESS), 8

    def bias(self, _: str, number: int) -> tuple[int, int]:
        self.start.values["bias"] = (8, SCRATCH + 1)[number % 2]
        return int((Cause.LOAD_ACCESS, Cause.MISALIGNED_OPERAND)[number % 2]), self.start.values["bias"]

    def word(self, _: str, number: int) -> tuple[int, int]:
        self.start.crf[:] = (0x5000_0000, 0xF000_0000)[number % 2]
        return ILLEGAL, (0x5000_0000, 0)[number % 2]


@pytest.mark.parametrize("mnemonic", MNEMONICS)
def test_the_first_check_that_fails_traps(pair: Pair, mnemonic: str) -> None:
    """Every set of one, two and three faults, and an operand that all instructions check before."""
    start = Start(pair, mnemonic, np.random.default_rng(0))
    checks = [check for check in start.checks if check != "group-size"]
    plain = next((operand for operand in TABLE[mnemonic].plain), None)
    for number in range(4):
        for some in itertools.chain(*(itertools.combinations(checks, count) for count in (1, 2, 3))):
            start = Start(pair, mnemonic, np.random.default_rng(number))
            faults = Faults(start)
            found = {check: faults.make(check, number) for check in reversed(some)}
            done = start.run()
            assert done.trap is not None, some
            assert (done.trap.cause, done.trap.value) == found[some[0]], (some, number)
            if plain is not None and some == tuple(checks[-len(some):]) and start.values.get("opsize", 1):
                start.values[plain.name] = 8
                done = start.run()
                assert done.trap is not None
                assert (done.trap.cause, done.trap.value) == (Cause.LOAD_ACCESS, 8)


def test_element_wise_products_need_three_banks_in_a_group() -> None:
    pair = Pair(MACHINES["pairs"])
    for others in ((), ("groups",), ("channels", "row"), ("groups", "run", "mode(SB)")):
        start = Start(pair, "pim.ewmul.f16", np.random.default_rng(1))
        for check in others:
            Faults(start).make(check, 1)
        done = start.run()
        assert done.trap is not None
        assert (done.trap.cause, done.trap.value) == (ILLEGAL, 2)


def test_what_is_not_looked_at(pair: Pair) -> None:
    """The buffer, by MACs with the next bank; bits of the group mask beyond the groups; channel masks, by pim.ewadd and tables."""
    random = np.random.default_rng(2)
    for name in ("pim.mac_sbk.f16", "pim.mac_abk.i8"):
        start = Start(pair, name, random)
        start.csrs |= {"pim.next_bank": 1, "pim.buffer_column": (1 << 64) - 1}
        assert start.run().trap is None
    start = Start(pair, "pim.ewmul.bf16", random)
    start.csrs["pim.group_mask"] = 1 | 1 << 40
    assert start.run().trap is None
    for name in ("pim.ewadd.f16", "pim.wr_aflut"):
        start = Start(pair, name, random)
        start.csrs |= {"pim.channel_mask": 1 << 60, "pim.column": 1 << 40}
        start.mode[:] = 2
        assert start.run().trap is None
    start = Start(pair, "pim.ewadd.bf16", random)
    start.values |= {"opsize": 0, "x": 3, "y": 5}
    assert start.run().counts == {"core.instructions": 1, "pim.ops": 1}


def test_the_csrs_of_an_entry_are_those_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(SMALL)
    for mnemonic in MNEMONICS:
        with csrs_that_are_read(monkeypatch) as read:
            for seed in range(4):
                start = Start(pair, mnemonic, np.random.default_rng(seed))
                start.csrs["pim.next_bank"] = seed % 2
                start.run()
        assert csrs(TABLE[mnemonic]) == [name for name in CSRS if name in read and name.startswith("pim.")], mnemonic


# ------------------------------------------------------------------------------------------------ words


def legal_classes() -> dict[str, list[list[str]]]:
    """Opcode -> for each operand what the page has in the column of each class."""
    header, *lines = table_in_text("pim", "Which class may stand where")
    assert header.split() == list(CLASSES)
    found: dict[str, list[list[str]]] = {}
    for line in lines:
        *name, _ = line[:12].split()
        found.setdefault(name[0] if name else [*found][-1], []).append(line[12:].split())
    return found


def legal_fields() -> dict[str, dict[str, str]]:
    """Opcode -> field -> what the page says may stand there."""
    header, *lines = table_in_text("pim", "Which bits a word may have")
    names = re.split(r"  +", header.strip())
    return {line.split()[0]: dict(zip(names, re.split(r"  +", line)[2:], strict=True)) for line in lines}


CLASS_CELLS, FIELD_CELLS = legal_classes(), legal_fields()
NUMBER = {name: number for number, name in OPERATIONS.items()}
STEPS = [(write, parity) for write in (0, 1) for parity in (0, 1)]


def word_of(name: str, kinds: tuple[int, ...], random: np.random.Generator, **given: int) -> int:
    """A word with these classes; what is not given is random among what the page allows."""
    fields = FIELD_CELLS[name]
    every = [*kinds, *random.integers(0, 8, 4 - len(kinds)).tolist()]
    indices = {}
    for place, field in enumerate(("dst index", "src0 index", "src1 index")):
        users = [kind for at, kind in enumerate(kinds) if min(at, 2) == place]
        free = fields[field] == "." or all(kind in (2, 3) for kind in users)
        indices[field] = int(random.integers(16 if free else 8))
    indices |= {field: given[field.replace(" ", "_")] for field in indices if field.replace(" ", "_") in given}
    flag = {field: given.get(field, int(random.integers(2)) if fields[field] == "0, 1" else 0) for field in ("aam", "relu")}
    return (NUMBER[name] << 28 | every[0] << 25 | every[1] << 22 | every[2] << 19 | every[3] << 16 | flag["aam"] << 15
            | int(random.integers(4)) << 13 | flag["relu"] << 12 | indices["dst index"] << 8 | indices["src0 index"] << 4
            | indices["src1 index"])


def verdict(name: str, kinds: tuple[int, ...], word: int, write: int, parity: int) -> int | None:
    """mtval that the page promises a command to this word, None if it is executed."""
    cells, fields = CLASS_CELLS[name], FIELD_CELLS[name]
    if any(cells[place][kind] == "-" for place, kind in enumerate(kinds)):
        return word
    if name == "mov" and {2, 3} >= set(kinds):
        return word
    if (fields["aam"] == "0" and word >> 15 & 1) or (fields["relu"] == "0" and word >> 12 & 1):
        return word
    for place, shift in ((0, 8), (1, 4), (2, 0), (3, 0)):
        if place < len(kinds) and kinds[place] not in (2, 3) and word >> shift & 8:
            return word
    for place in (*range(1, len(kinds)), 0):
        kind = kinds[place]
        if kind in (2, 3) and (cells[place][kind] != ("write" if write else "read") or kind != 2 + parity):
            return kind
    return None


def all_words() -> list[tuple[int, list[int | None]]]:
    """Every opcode with every class in every operand; every flag and index; other opcodes with any bits. With each word what the
    four commands of STEPS get."""
    random, found = np.random.default_rng(3), []

    def add(name: str, kinds: tuple[int, ...], **given: int) -> None:
        word = word_of(name, kinds, random, **given)
        found.append((word, [verdict(name, kinds, word, *step) for step in STEPS]))

    for name, cells in CLASS_CELLS.items():
        for kinds in itertools.product(range(8), repeat=len(cells)):
            add(name, kinds)
        legal = [kinds for kinds in itertools.product(range(8), repeat=len(cells))
                 if all(cells[place][kind] != "-" for place, kind in enumerate(kinds))]
        for aam, relu, index in itertools.product((0, 1), (0, 1), (-1, *range(16))):
            for field in ("dst_index", "src0_index", "src1_index"):
                add(name, legal[random.integers(len(legal))], aam=aam, relu=relu, **({field: index} if index >= 0 else {}))
    for opcode in (5, 6, 7, 10, 11, 12, 13):
        words = [opcode << 28, *(opcode << 28 | int(random.integers(1 << 28)) for _ in range(8))]
        found += [(word, [word] * 4) for word in words]
    found += [(int(random.integers(1 << 28)) & ~0x7FF | count, [None] * 4) for count in (0, 1, 2, 5, 2047) for _ in range(4)]
    found += [(0xF << 28 | int(random.integers(1 << 28)), [0] * 4) for _ in range(8)]
    return found


SCAN = """
        .section .text
_start: la t0, trapped
        csrw mtvec, t0
        csrwi pim.channel_mask, 1
        la s0, results
        la s1, words
        la s2, results
        li s4, 5
        li s5, 1
        pim.mode.hab
        pim.act.ab zero
next:   pim.wr.crf s1, zero
        pim.mode.hab_pim zero
        pim.rd.pim zero, s4
        pim.rd.pim s5, s4
        pim.wr.pim zero, s4
        pim.wr.pim s5, s4
        pim.mode.hab
        addi s1, s1, 32
        bltu s1, s2, next
        csrw mtvec, zero
        li a7, 93
        ecall
        .balign 4
trapped: csrr t0, mepc
        csrr t1, mcause
        csrr t2, mtval
        sw t0, 0(s0)
        sw s1, 4(s0)
        sw t1, 8(s0)
        sw t2, 12(s0)
        addi s0, s0, 16
        addi t0, t0, 4
        csrw mepc, t0
        mret
        .section .data
        .balign 32
words:  .word {words}
results: .zero {room}
"""


def test_every_word_does_what_the_table_says() -> None:
    """A CRF of eight equal words; two read and two write commands to each. JUMPs have a test of their own."""
    words = all_words()
    assert len(words) > 6000
    room = 16 * 4 * len(words)
    text = SCAN.format(words=", ".join(f"{word:#x}" for word, _ in words for _ in range(8)), room=room)
    preset = machine(channels=1, rows=2, dram=1 << 21)
    # The entries behind the eight are 0: NOPs. The banks hold numbers of all kinds, so that instructions have something to do.
    program = asm.assemble(text, machine=preset)
    done = run_program(program, max_instructions=2_000_000)
    assert done.results[-1].reason == "exit"
    symbols = {symbol.name: symbol.value for symbol in program.symbols}
    steps = {symbols["next"] + 8 + 4 * number: number for number in range(4)}
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for pc, at, cause, value in done.reference.peek(symbols["results"], room).view("<u4").reshape(-1, 4).tolist():
        if pc:
            found[(at - symbols["words"]) // 32, steps[pc]] = cause, value
    promised = {(at, number): (ILLEGAL, value) for at, (_, values) in enumerate(words) for number, value in enumerate(values)
                if value is not None}
    wrong = [(f"{words[at][0]:#010x}", STEPS[number], promised.get((at, number)), found.get((at, number)))
             for at, number in sorted(promised.keys() | found.keys()) if promised.get((at, number)) != found.get((at, number))]
    assert wrong == []


# ------------------------------------------------------------------------------------------------ steps


def random_words(random: np.random.Generator) -> list[int]:
    """A micro-program: legal words most of them, loops, now and then any bits."""
    words = []
    for at in range(32):
        kind = random.random()
        if kind < 0.02:
            words.append(int(random.integers(1 << 32)))
        elif kind < 0.2:
            count, offset = random.choice([0, 1, 2, 3, 0x1FFFF]), random.choice([0, 1, 2, 3, 4, 5, at + 1, at + 2])
            words.append(14 << 28 | int(count) << 11 | int(offset))
        elif kind < 0.3:
            words.append(int(random.integers(4)))
        elif kind < 0.31:
            words.append(15 << 28)
        else:
            name = str(random.choice([*CLASS_CELLS, "mac"]))
            while True:
                kinds = tuple(random.integers(2, 8, len(CLASS_CELLS[name])).tolist())
                if all(CLASS_CELLS[name][place][number] != "-" for place, number in enumerate(kinds)):
                    break
            words.append(word_of(name, kinds, random))
    return words


def refusal(model: list[Channel], command: tuple[bool, int, int], rows_open: np.ndarray) -> int | None:
    """Send a command to all channels. mtval of the first that refuses it, None if all execute it."""
    write, parity, column = command
    for channel in model:
        try:
            channel.command(write, parity, column, int(rows_open[parity]))
        except Refused as refused:
            return refused.value
    return None


STEP = """
        .section .text
_start: la t0, trapped
        csrw mtvec, t0
        la s1, program
        la s3, data
        csrwi pim.channel_mask, 3
        pim.mode.hab
        {lines}
        li a7, 93
        csrw mtvec, zero
        ecall
        .balign 4
trapped: csrr t0, mepc
        addi t0, t0, 4
        csrw mepc, t0
        mret
        .section .data
        .balign 32
program: .word {program}
data:   .half {data}
"""
COMMANDS = 120
STEPPED = ("pim.crf_pc", "pim.crf_repeat", "pim.crf_jumps", "pim.grf_a", "pim.grf_b", "pim.srf")


def as_state(model: list[Channel]) -> tuple[bytes, ...]:
    """What the channels are in, as the arrays of STEPPED."""
    counts = [np.array([c.repeat for c in model], "<u4"), np.array([c.jumps for c in model], "<u4")]
    registers = [np.stack([of(c) for c in model]) for of in (lambda c: c.grf[4], lambda c: c.grf[5], lambda c: c.srf)]
    return bytes(c.pc for c in model), *(array.tobytes() for array in (*counts, *registers))


@pytest.mark.parametrize("seed", range(max(12, TIMES // 20)))
def test_random_microprograms_against_a_model_of_the_page(seed: int) -> None:
    """Two channels, with one program or each its own, which are replaced now and then; commands that mostly suit them. After each
    command both engines are in the state that the model is in, or have trapped with its mtval."""
    random = np.random.default_rng(1000 + seed)
    preset = machine(channels=2)
    banks, rows_open = preset.banks, random.integers(0, 8, 2)

    def numbers(*shape: int) -> np.ndarray:
        plain = random.standard_normal(shape).astype(np.float16).view(np.uint16)
        return np.where(random.random(shape) < 0.03, random.choice(SPECIAL, shape), plain)

    registers, lanes = numbers(3, 8, 16), numbers(2, 4, 16)         # GRF_A, GRF_B, [2, 0] SRF; columns of a parity's banks, mod 4
    content = np.tile(lanes, (2, banks.blocks, 1, 8, 1))
    model = [Channel([], *(np.repeat(registers[i][None], banks.blocks, axis=0) for i in (0, 1)),
                     np.repeat(registers[2, :1], banks.blocks, axis=0), content[channel]) for channel in (0, 1)]
    lines, words, expected = [], [], []

    def load_registers() -> None:
        """All registers hold numbers again."""
        lines.append("addi a1, s3, 512\npim.wr.srf a1")
        for kind, name in ((4, "grf_a"), (5, "grf_b")):
            lines.extend(f"li a0, {i}\naddi a1, s3, {256 * (kind - 4) + 32 * i}\npim.wr.{name} a1, a0" for i in range(8))
            for channel in model:
                channel.grf[kind][:] = registers[kind - 4]
        for channel in model:
            channel.srf[:] = registers[2, 0]

    def load_programs() -> None:
        """Other programs, from entry 0 on. In HAB before and HAB_PIM behind."""
        zeroed, own = int(random.integers(4)), random.random() < 0.3
        for each, channel in enumerate(model):
            if own or each == 0:
                words.extend(random_words(random))
            place = 4 * (len(words) - 32)
            lines.append(f"li a0, {1 << each}\ncsrw pim.channel_mask, a0")
            lines.extend(f"li a0, {part}\nli a1, {place + 32 * part}\nadd a1, a1, s1\npim.wr.crf a1, a0" for part in range(4))
            channel.words, channel.pc, channel.repeat, channel.jumps = words[-32:], 0, 0, [0] * 32
            for kind in (4, 5):
                channel.grf[kind][:] *= 1 - (zeroed >> kind - 4 & 1)
        lines.append(f"csrwi pim.channel_mask, 3\nli a0, {zeroed}\npim.mode.hab_pim a0")

    for parity in (0, 1):
        lines.append(f"li a0, {parity}\nli a1, {rows_open[parity]}\npim.act.hab a0, a1")
        lines += [f"li a1, {column}\naddi a2, s3, {768 + 32 * (4 * parity + column % 4)}\npim.wr.hab a2, a0, a1"
                  for column in range(32)]
    load_registers()
    load_programs()
    stuck = 0
    for _ in range(COMMANDS):
        if stuck == 8:
            lines.append("pim.mode.hab")
            load_programs()
            load_registers()
            stuck = 0
        for _ in range(6):                                          # one that is refused is sent in one case of six
            command = bool(random.random() < 0.25), int(random.random() < 0.5), int(random.integers(32))
            kept = deepcopy(model)
            value = refusal(model, command, rows_open)
            if value is not None:
                model, stuck = kept, min(stuck + 1, 8)
            if value is None or random.random() < 0.17:
                write, parity, column = command
                lines.append(f"li a0, {parity}\nli a1, {column}\npim.{'wr' if write else 'rd'}.pim a0, a1")
                expected.append((value, as_state(model)))
            if value is None:
                stuck = 0
                break
    program = asm.assemble(STEP.format(lines="\n".join(lines), program=", ".join(map(hex, words)), data=", ".join(
        map(hex, [*registers.ravel(), *lanes.ravel()]))), machine=preset)
    for engine in (ReferenceMachine, Machine):
        seen = []

        def see(machine: ReferenceMachine, step: Step, seen: list[tuple[int | None, tuple[bytes, ...]]] = seen) -> None:
            value = None if step.trap is None else machine.csr("mtval")
            seen.append((value, tuple(machine.state[name].tobytes() for name in STEPPED)))

        ran = engine(preset)
        ran.load(program)
        ran.hook(see, where=lambda _, row: row is not None and row.mnemonic in ("pim.rd.pim", "pim.wr.pim"))
        assert ran.run(50_000).reason == "exit"
        assert [value for value, _ in seen] == [value for value, _ in expected]
        assert seen == expected
        for number, channel in enumerate(model):
            for block, parity, column in itertools.product(range(banks.blocks), (0, 1), range(32)):
                place = int(banks.address(number, 2 * block + parity, rows_open[parity], column))
                assert np.array_equal(ran.peek(place, 32).view("<u2"), channel.banks[block, parity, column])
    assert sum(value is None for value, _ in expected) > COMMANDS // 3
