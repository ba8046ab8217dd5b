"""The thr unit three times: the reference engine, the fast engine, and a model that was written from the manual alone.

A random start goes to all three. Registers, memory, counters, mcause and mtval must be the same afterwards. So a rule that the
manual says wrong, or not at all, shows here.

In a regular start operands lie apart from each other, where they may. Most starts are spoiled: operands are misaligned, in no
region, across an end, read-only, without a port, on each other; lengths, rows and thr.levels are beyond all bounds; a register is
two operands, or x0; a word is no instruction. Data has NaNs, infinities, zeros of both signs, ties.

A run has 5000 starts. SLIMULATOR_FUZZ=100000 gives that many, SLIMULATOR_FUZZ_SEED=7 other ones.
"""

import os
from collections import Counter

import numpy as np
import pytest
from both_engines import DRAM, FLASH, HBM, MMIO, SMALL, SRAM, TEXT, WINDOW, Difference, Pair
from second_model_thr import INSTRUCTIONS, LONGEST, OPCODE, Outcome, Region, Start, execute

from isa.counters import COUNTERS
from isa.preset import Preset, load_preset, preset_of

CASES = int(os.environ.get("SLIMULATOR_FUZZ", "5000"))
SEED = int(os.environ.get("SLIMULATOR_FUZZ_SEED", "1"))
WORD = (1 << 64) - 1
RETIRED, LOAD_ACCESS, STORE_ACCESS, ILLEGAL_INSTRUCTION, PORT, MISALIGNED, CAPACITY, ILLEGAL_OPERAND = -1, 5, 7, 2, 24, 25, 26, 27

SPECIAL = (0, 0x8000_0000, 1, 0x8000_0001, 0x7F_FFFF, 0x80_0000, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x7F80_0000, 0xFF80_0000,
           0x7F80_0001, 0xFF80_0001, 0x7FC0_0000, 0xFFC0_1234, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x3F80_0000, 0xBF80_0000)
MARGIN = 1 << 13        # more bytes than an instruction writes here: so all are in the ends of a region, which are compared
HUGE = (LONGEST + 1, 1 << 29, 1 << 32, (1 << 32) + 1, 1 << 60, 1 << 61, 1 << 62, (1 << 62) + 1, 1 << 63, WORD)
# Operands by mnemonic, as the encoding has them: rd, rs1, rs2, rs3. What is read, what is written, and the lengths.
OPERANDS = {
    "thr.gt.f32":      (("mask", "x", "theta", "n"), "x", "mask", ("n",)),
    "thr.absgt.f32":   (("mask", "x", "theta", "n"), "x", "mask", ("n",)),
    "thr.index":       (("count", "mask", "index", "n"), "mask", "index", ("n",)),
    "thr.select":      (("theta", "table", "row", "sparsity"), "table", "", ()),
    "thr.topk.f32":    (("index", "x", "k", "n"), "x", "index", ("k", "n")),
    "thr.bottomk.f32": (("index", "x", "k", "n"), "x", "index", ("k", "n")),
    "thr.prefix":      (("count", "sizes", "budget", "n"), "sizes", "", ("n",)),
    "thr.ranges":      (("index", "ranks", "bounds", "n"), "ranks", "index", ("n",)),
}
CODES = {instruction.name: code for code, instruction in INSTRUCTIONS.items()}


def _without_ports() -> Preset:
    """A small machine whose thr unit has no port to flash and hbm."""
    data = SMALL.file.model_dump(exclude_none=True)
    for name in ("flash", "hbm"):
        data["region"][name]["ports"]["value"].remove("thr")
    return preset_of(data)


# Machines, with the part of the starts that each gets. gddr6-aim has no thr unit.
MACHINES = {"slim": 0.4, "slim-llama": 0.15, "hpim": 0.15, "small": 0.25, "gddr6-aim": 0.05}
# Sections of flash: two side by side, then a gap.
FLASH_SECTIONS = {FLASH: 3001, FLASH + 3001: 2999, FLASH + 8192: 4096}


class Starts:
    """Random starts on one machine; memory keeps what earlier starts have placed."""

    def __init__(self, name: str, random: np.random.Generator) -> None:
        self.random = random
        preset = _without_ports() if name == "small" else load_preset(name)
        flash = {at: random.integers(0, 256, size, np.uint8) for at, size in FLASH_SECTIONS.items()}
        for data in flash.values():                                 # now and then a NaN or a zero
            data[:len(data) // 4 * 4].view("<u4")[::7] = random.choice(SPECIAL, len(data) // 4)[::7]
        if not any(region.name == "flash" for region in preset.regions):
            flash = {}
        self.pair = Pair(preset, {at: data.tobytes() for at, data in flash.items()})
        self.memory = {at + i: int(byte) for at, data in flash.items() for i, byte in enumerate(data)}
        held = {"flash": tuple(FLASH_SECTIONS.items()), "mmio": tuple((MMIO + 8 * i, 8) for i in range(3))}
        self.regions = tuple(Region(each.name, each.base, each.size, each.ports, each.name != "flash", held.get(each.name))
                             for each in preset.regions)
        self.units = frozenset({"thr"} if preset.has_unit("thr") else ())
        self.good = [region for region in self.regions if "thr" in region.ports] or [self.region("sram")]
        self.seen: Counter[tuple[str, int]] = Counter()             # how instructions have ended: mcause or RETIRED

    def region(self, name: str) -> Region:
        return next(region for region in self.regions if region.name == name)

    # ------------------------------------------------------------------------------------------ numbers

    def chance(self, part: float) -> bool:
        return bool(self.random.random() < part)

    def below(self, end: int) -> int:
        return int(self.random.integers(end))

    def one_of(self, choices):
        return choices[self.below(len(choices))]

    def length(self) -> int:
        if self.chance(0.5):
            return self.one_of((0, 1, 2, 7, 8, 9, 15, 16, 17, 33, 64))
        return self.below(self.one_of((20, 20, 100, 700)))

    def bits(self, count: int) -> np.ndarray:
        """Bits of fp32 numbers of one of several kinds."""
        match self.below(5):
            case 0:  return self.random.integers(0, 1 << 32, count, np.uint32)
            case 1:  return self.random.choice(SPECIAL, count).astype("<u4")
            case 2:  return (self.random.integers(-2, 3, count).astype("<f4") * np.float32(0.5)).view("<u4")      # ties
            case 3:
                mixed = self.random.standard_normal(count).astype("<f4").view("<u4")
                return np.where(self.random.random(count) < 0.1, self.random.choice(SPECIAL, count).astype("<u4"), mixed)
            case _:  return self.random.standard_normal(count).astype("<f4").view("<u4")

    def upper(self) -> int:
        """What a register may hold above an fp32 number."""
        return self.below(1 << 32) << 32 if self.chance(0.5) else 0

    # ------------------------------------------------------------------------------------------ regular starts

    def place(self, size: int, align: int, taken: list[tuple[int, int]], *, written: bool) -> int:
        """An aligned address of `size` free bytes near an end of a region."""
        while True:
            region = self.one_of(self.good)
            if region.name == "flash":
                start, room = self.one_of(list(FLASH_SECTIONS.items()))
            else:
                room = WINDOW - MARGIN
                start = self.one_of((region.base, region.base + region.size - room))
            if start == TEXT:
                start, room = TEXT + 4096, room - 4096
            start, room = -(-start // align) * align, room - -start % align
            if size > room or (written and not region.writable):
                continue
            address = start + (room - size if self.chance(0.1) else self.below(room - size + 1)) // align * align
            if all(address + size <= low or high <= address for low, high in taken):
                taken.append((address, address + size))
                return address

    def data(self, address: int, array: np.ndarray) -> None:
        """Put data at an address, for all three. Flash keeps its own."""
        if self.in_flash(address) or not len(array):
            return
        self.pair.place(address, array)
        self.memory.update(enumerate(array.view(np.uint8).tolist(), address))

    def in_flash(self, address: int) -> bool:
        return FLASH <= address < HBM

    def words(self, address: int, count: int) -> list[int]:
        """What is at an address."""
        data = bytes(self.memory.get(at, 0) for at in range(address, address + 4 * count))
        return np.frombuffer(data, "<u4").tolist()

    def regular(self, name: str) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Values of operands, bytes of those with an address, and CSRs."""
        n, taken, csrs = self.length(), [], {"thr.levels": self.below(30), "thr.budget": self.below(30)}
        masked = -(-n // 8)
        match name:
            case "thr.gt.f32" | "thr.absgt.f32":
                sizes = {"x": 4 * n, "mask": masked}
                values = {"x": self.place(4 * n, 4, taken, written=False), "mask": self.place(masked, 1, taken, written=True),
                          "n": n}
                self.data(values["x"], self.bits(n))
                values["theta"] = self.number_near(values["x"], n)
            case "thr.index":
                values = {"mask": self.place(masked, 1, taken, written=False), "n": n}
                dense = self.one_of((0.0, 0.02, 0.5, 0.9, 1.0))
                self.data(values["mask"], np.packbits(self.random.random(8 * masked) < dense))
                sizes = {"mask": masked, "index": 4 * n}
                values["index"] = self.place(4 * n, 4, taken, written=True)
            case "thr.topk.f32" | "thr.bottomk.f32":
                k = self.one_of((0, n, min(n, 1), self.below(n + 1), min(n, self.below(9))))
                sizes = {"x": 4 * n, "index": 4 * k}
                values = {"x": self.place(4 * n, 4, taken, written=False), "index": self.place(4 * k, 4, taken, written=True),
                          "k": k, "n": n}
                self.data(values["x"], self.bits(n))
            case "thr.select":
                levels, rows = 1 + self.below(20), 1 + self.below(6)
                csrs["thr.levels"] = levels
                sizes = {"table": 4 * levels * (1 + rows)}
                values = {"table": self.place(sizes["table"], 4, taken, written=False), "row": self.below(rows)}
                table = np.concatenate([self.bits(levels), self.random.integers(0, 1 << 32, levels * rows, np.uint32)])
                if self.chance(0.3):
                    table[:levels] = np.sort(self.random.random(levels).astype("<f4")).view("<u4")
                self.data(values["table"], table.astype("<u4"))
                values["sparsity"] = self.number_near(values["table"], levels)
            case "thr.ranges":
                n, many = min(n, 200), 1 + self.below(40)
                sizes = {"ranks": 4 * n, "bounds": 4 * many + 4, "index": 4 * csrs["thr.budget"]}
                values = {"ranks": self.place(4 * n, 4, taken, written=True), "n": n,     # flash is random
                          "bounds": self.place(sizes["bounds"], 4, taken, written=True),
                          "index": self.place(sizes["index"], 4, taken, written=True)}
                self.data(values["ranks"], self.random.integers(0, many, n, np.uint32))
                steps = self.random.integers(self.one_of((0, -3)), self.one_of((2, 9)), many + 1)
                self.data(values["bounds"], (self.below(100) + np.cumsum(steps)).astype(np.uint32))
            case _:
                sizes = {"sizes": 4 * n}
                values = {"sizes": self.place(4 * n, 4, taken, written=False), "n": n}
                self.data(values["sizes"], self.random.integers(0, self.one_of((2, 100, 1 << 32)), n, np.uint32))
                some = sum(self.words(values["sizes"], self.below(n + 1)))
                values["budget"] = self.one_of((0, 1, some, some, max(0, some - 1), some + 1, (1 << 32) - 1, 1 << 32, 1 << 63,
                                                WORD))
        return values, sizes, csrs

    def number_near(self, address: int, count: int) -> int:
        """The bits of an fp32 number: one of those in memory, or another one."""
        if count and self.chance(0.5):
            return self.one_of(self.words(address, count)) ^ (self.chance(0.2) << 31) | self.upper()
        return int(self.bits(1)[0]) | self.upper()

    # ------------------------------------------------------------------------------------------ spoiled starts

    def spoil(self, name: str, values: dict[str, int], sizes: dict[str, int], csrs: dict[str, int]) -> None:
        """Make something unusual."""
        _, read, written, lengths = OPERANDS[name]
        for _ in range(1 + self.below(3)):
            match self.below(5):
                case 0 | 1:
                    which = self.one_of(list(sizes))
                    values[which] = self.address(values[which], sizes[which])
                case 2 if written:                                      # operands on each other
                    delta = self.one_of((0, 0, 1, 2, 3, 4, 8, -1, -2, -4, -8, self.below(sizes[read] + 1)))
                    values[written] = values[read] + delta
                case 3 if "k" in lengths and self.chance(0.5):
                    values["k"] = values["n"] + 1 + self.below(self.one_of((1, 700)))
                case 3 if lengths:
                    which = self.one_of(lengths)
                    values[which] = self.one_of((*HUGE, LONGEST, 0, 1, values[which] + 1, values[which] + 8, self.length()))
                case _ if name == "thr.select":
                    self.spoil_table(values, csrs)

    def spoil_table(self, values: dict[str, int], csrs: dict[str, int]) -> None:
        """Rows and levels that lead elsewhere: to other regions, to an end, round the address space."""
        if self.chance(0.4):
            csrs["thr.levels"] = self.one_of((0, 0, 1, 2, 1 << 34, *HUGE[4:], csrs["thr.levels"] + 1)) & WORD
        elif self.chance(0.5):
            values["row"] = self.one_of((*HUGE, WORD - 1, WORD - 2, (1 << 62) - 1, (1 << 62) - 2, 1 << 31, values["row"] + 1))
        else:
            region = self.one_of(self.regions)
            target = self.one_of((region.base, region.base + region.size, TEXT, FLASH + 6000, FLASH + 8192)) + self.below(16) - 8
            values["row"] = (target - values["table"]) // (4 * max(1, csrs["thr.levels"] & 0xFFFF)) - 1 & WORD

    def address(self, address: int, size: int) -> int:
        """Misaligned, across an end, in no region, read-only, without a port, on the instruction itself."""
        region = self.one_of(self.regions)
        end = region.base + region.size
        if self.chance(0.2):                                            # without a port, or read-only
            return self.one_of([each for each in self.regions if "thr" not in each.ports or not each.writable]).base
        return self.one_of((
            address + 1, address + 2, address - 1, address + 3, 0, 1, 4, 1 << 63, (1 << 63) + SRAM, (1 << 62) + DRAM,
            region.base, region.base - 4, region.base - 1, region.base - size + 1,
            end - size, end - size, end - size + 1, end - size + 4, end - 4, end - 1, end,
            WORD, WORD - 3, -size & WORD, 4 - size & WORD, MMIO, MMIO + 8, MMIO + 16, MMIO + 24,
            FLASH, FLASH + 1, FLASH + 2996, FLASH + 3000, FLASH + 3001, FLASH + 3004, FLASH + 6000 - size, FLASH + 6000,
            FLASH + 8192 - 4, FLASH + 8192, TEXT, TEXT + 4 - size, SRAM, DRAM + 8192, HBM))

    # ------------------------------------------------------------------------------------------ all three

    def start(self) -> tuple[str, int, Start, bool]:
        """A mnemonic, an instruction word, a start, and whether it is a regular one."""
        name = self.one_of(list(OPERANDS))
        funct3, funct2 = CODES[name]
        regular = self.chance(0.3)
        values, sizes, csrs = self.regular(name)
        if not regular:
            self.spoil(name, values, sizes, csrs)
        numbers = [1 + int(i) for i in self.random.permutation(31)[:4]]
        if self.chance(0.1):                                            # x0, or one register twice
            regular = False
            numbers[self.below(4)] = self.one_of((0, 0, *numbers))
        if self.chance(0.02):
            regular, funct3, funct2 = False, 0b010, 0b11
        x = [int(each) for each in self.random.integers(0, 1 << 64, 32, np.uint64)]
        order = OPERANDS[name][0]
        for at in self.random.permutation(4).tolist():
            x[numbers[at]] = values.get(order[at], x[numbers[at]]) & WORD
        x[0] = 0
        if not regular and self.is_too_much(name, dict(zip(order, (x[number] for number in numbers), strict=True))):
            return self.start()
        rd, rs1, rs2, rs3 = numbers
        word = rs3 << 27 | funct2 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | OPCODE
        if self.chance(0.1):
            self.pair.start_counts[:] = self.random.integers(0, 1 << 64, len(self.pair.start_counts), np.uint64)
            self.pair.start_counts[[COUNTERS["core.instructions"].slot, COUNTERS["core.traps"].slot]] = self.below(1 << 40)
        else:
            self.pair.start_counts[:] = 0
        csrs["mtvec"] = TEXT + 64 if self.chance(0.2) else 0
        self.pair.csrs = csrs
        counters = {name: int(self.pair.start_counts[counter.slot]) for name, counter in COUNTERS.items()}
        self.memory.update(enumerate(word.to_bytes(4, "little"), TEXT))
        return name, word, Start(self.units, self.regions, x, csrs, self.memory, counters), regular

    def is_too_much(self, name: str, values: dict[str, int]) -> bool:
        """Whether an instruction would read so much that it takes seconds, or write where memory is not compared."""
        _, read, written, lengths = OPERANDS[name]
        if lengths and 1 << 14 < values["n"] <= LONGEST:
            end = values[read] + (values["n"] // 8 if read == "mask" else 4 * values["n"])
            if any(region.base <= values[read] and end <= region.base + region.size for region in self.regions):
                return True
        return bool(written) and any(region.base + WINDOW - MARGIN < values[written] < region.base + region.size - WINDOW
                                     for region in self.regions)

    def compare(self, name: str, word: int, start: Start, regular: bool) -> None:
        """Execute a start three times. Raises AssertionError."""
        expected = execute(start, word)
        report, found = self.pair.execute(word, start.x)
        if found:
            raise Difference(f"{word:#010x}", found)
        self.seen[name, expected.trap[0] if expected.trap else RETIRED] += 1
        machine = self.pair.reference
        handled = expected.trap is not None and start.csrs["mtvec"] != 0
        if report is not None:
            trap = int(report.cause), report.value
        else:
            trap = (machine.csr("mcause"), machine.csr("mtval")) if machine.pc == start.csrs["mtvec"] else None
        assert trap == expected.trap
        assert machine.pc == (start.csrs["mtvec"] if handled else TEXT + 4 * (expected.trap is None))
        assert list(machine.x) == expected.x
        counters = {name: machine.counter(name) for name in COUNTERS}
        assert {n: v for n, v in counters.items() if v != expected.counters[n]} == {}, expected.counters
        self.compare_memory(start, word, expected)
        if regular and self.units:
            assert expected.trap is None and not self.pair.fast.handed_over, "a regular start"

    def compare_memory(self, start: Start, word: int, expected: Outcome) -> None:
        """Compare the bytes that have changed. The instruction itself was not in memory when that was filled."""
        code = dict(enumerate(word.to_bytes(4, "little"), TEXT))
        after = code | expected.writes
        before = {at: 0 if at in code else start.memory.get(at, 0) for at in after}
        assert self.pair.changes() == {at: byte for at, byte in after.items() if byte != before[at]}


@pytest.mark.parametrize("machine", MACHINES)
def test_three_agree(machine, fuzzed):
    starts = Starts(machine, np.random.default_rng((SEED, list(MACHINES).index(machine))))
    for i in range(int(CASES * MACHINES[machine])):
        name, word, start, regular = starts.start()
        fuzzed["operations"] += 1
        try:
            starts.compare(name, word, start, regular)
        except AssertionError as error:
            rd, rs1, rs2, rs3 = (word >> low & 31 for low in (7, 15, 20, 27))
            values = dict(zip(OPERANDS[name][0], (hex(start.x[each]) for each in (rd, rs1, rs2, rs3)), strict=True))
            error.add_note(f"start {i}, SLIMULATOR_FUZZ_SEED={SEED}: {name} {values}, registers {rd, rs1, rs2, rs3}, {start.csrs}")
            raise
    causes = {cause for _, cause in starts.seen}
    if CASES >= 5000 and starts.units:
        assert causes >= {RETIRED, LOAD_ACCESS, STORE_ACCESS, PORT, MISALIGNED, CAPACITY, ILLEGAL_OPERAND}
    if CASES >= 50_000:
        assert unseen(starts) == set()


def unseen(starts: Starts) -> set[tuple[str, int]]:
    """Ends of instructions that a long run has not seen, and should have."""
    if not starts.units:
        return {(name, ILLEGAL_INSTRUCTION) for name in OPERANDS} - starts.seen.keys()
    wanted = set()
    for name, (_, _, written, lengths) in OPERANDS.items():
        wanted |= {(name, cause) for cause in (RETIRED, LOAD_ACCESS, PORT, MISALIGNED)}
        wanted |= {(name, STORE_ACCESS)} if written else set()
        wanted |= {(name, CAPACITY)} if lengths else set()
        wanted |= {(name, ILLEGAL_OPERAND)} if name == "thr.select" or "k" in lengths else set()
    return wanted - starts.seen.keys()
