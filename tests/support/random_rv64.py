"""Random programs of the base instruction set, for machines that are to agree: source text around tests/oracle/htif/random.s.

A program computes with edge values and what it has made of them, loads and stores at every width and alignment, branches,
loops, calls functions, swaps CSRs, rewrites an instruction of its own, and traps in every way that the privileged
specification pins down. It leaves out what that leaves open: what unaligned or unknown CSRs hold, timers, `wfi`, 16-bit words.
The number of a program is its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import isa.units  # noqa: F401 - registers the rows
from isa.instruction import XSLIM_OPCODES, decode, rows
from isa.registers import ABI_NAMES

ITEMS = 150                     # of a program's main line; each becomes one to ten instructions
FUNCTIONS = 4
BUFFER = 4096                   # bytes; s0 points to the middle
FIRST_TRAP = 37                 # line of the output where the traps begin, four lines each, mcause last
NOWHERE = 0x4000_0000           # no memory here, neither on the Slim machine nor on Spike

OWNED = [name for name in ABI_NAMES if name not in ("zero", "s0", "s1", "t5", "t6")]
LINKS = ["ra", "t0", "s11"]     # what functions return through

EDGES = [0, 1, 2, 3, 7, 8, 0xFF, 0x7F, 0x80, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFF,
         0x1_0000_0000, 0x1_8000_0000, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 64) - 1, (1 << 64) - 2, (1 << 64) - 8,
         0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA, 0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_7FFF_FFFF, 1 << 32, 1 << 62]

BASE = {row.mnemonic: row for row in rows() if not row.is_xslim}
REGISTER, IMMEDIATE, BRANCH = ([name for name, row in BASE.items() if row.format.name == kind] for kind in ("R", "I", "B"))
DIVIDE = [row.mnemonic for row in rows("rv64m") if row.mnemonic not in ("mul", "mulw")]
SHIFT = {name: 31 if row.format.name == "SHIFTW" else 63 for name, row in BASE.items() if row.format.name.startswith("SHIFT")}
LOAD = {"lb": 1, "lbu": 1, "lh": 2, "lhu": 2, "lw": 4, "lwu": 4, "ld": 8}
STORE = {"sb": 1, "sh": 2, "sw": 4, "sd": 8}
FREE_CSRS = ["mscratch", "mcause", "mtval"]                                     # every bit can be written
READ_ONLY_CSRS = ["mhartid", "mvendorid", "marchid", "mimpid", "mconfigptr", "cycle", "instret"]
FENCES = ["fence", "fence rw, w", "fence iorw, iorw", "fence.tso", "fence.i", "pause"]


class Source:
    """The text of one program while it is written."""

    def __init__(self, seed: object) -> None:
        self.random = random.Random(str(seed))
        self.lines: list[str] = []
        self.labels = 0

    def one_of(self, choices: list[str]) -> str:
        return self.random.choice(choices)

    def source(self) -> str:
        """A register to read: any that the program owns, x0 and the pointer."""
        return self.one_of([*OWNED, "zero", "s0"])

    def target(self) -> str:
        """A register to write; now and then x0."""
        return "zero" if self.random.random() < 0.03 else self.one_of([name for name in OWNED if name not in self.kept])

    kept: tuple[str, ...] = ()          # what the function being written returns through

    def label(self) -> str:
        self.labels += 1
        return f"label_{self.labels}"

    def write(self, *lines: str) -> None:
        self.lines += lines

    def choose(self, table: dict[Callable[[], None], int]) -> None:
        """One item of a table of weights."""
        self.random.choices(list(table), list(table.values()))[0]()

    # ---------------------------------------------------------------------------------------------- straight items

    def arithmetic(self) -> None:
        self.write(f"{self.one_of(REGISTER)} {self.target()}, {self.source()}, {self.source()}")

    def immediate(self) -> None:
        value = self.random.choice([0, 1, -1, 2047, -2048, self.random.randint(-2048, 2047)])
        self.write(f"{self.one_of(IMMEDIATE)} {self.target()}, {self.source()}, {value}")

    def shift(self) -> None:
        name = self.one_of(list(SHIFT))
        amount = self.random.choice([0, 1, SHIFT[name], self.random.randint(0, SHIFT[name])])
        self.write(f"{name} {self.target()}, {self.source()}, {amount}")

    def constant(self) -> None:
        self.write(f"li {self.target()}, {self.random.choice([*EDGES, self.random.getrandbits(64)]):#x}")

    def upper(self) -> None:
        self.write(f"{self.one_of(['lui', 'auipc'])} {self.target()}, {self.random.choice([0, 1, 0x7FFFF, 0x80000, 0xFFFFF]):#x}")

    def corner(self) -> None:
        """Multiplication or division of two edge values."""
        a, b = self.random.sample(OWNED, 2) if not self.kept else ("a0", "a1")
        self.write(f"li {a}, {self.random.choice(EDGES):#x}", f"li {b}, {self.random.choice(EDGES):#x}",
                   f"{self.one_of(DIVIDE)} {self.target()}, {a}, {b}")

    def load(self) -> None:
        name = self.one_of(list(LOAD))
        self.write(f"{name} {self.target()}, {self.random.randint(-BUFFER // 2, BUFFER // 2 - LOAD[name])}(s0)")

    def store(self) -> None:
        name = self.one_of(list(STORE))
        self.write(f"{name} {self.source()}, {self.random.randint(-BUFFER // 2, BUFFER // 2 - STORE[name])}(s0)")

    def computed(self) -> None:
        """A load or store whose address depends on what was computed."""
        name = self.one_of([*LOAD, *STORE])
        address, value = ("t5", self.target() if name in LOAD else self.source())
        self.write(f"andi {address}, {self.source()}, 0xFF", f"add {address}, {address}, s0",
                   f"{name} {value}, {self.random.randint(-BUFFER // 2, BUFFER // 2 - 0x100 - 8)}({address})")

    def fence(self) -> None:
        self.write(self.one_of(FENCES))

    def csr(self) -> None:
        csr, name = self.one_of(FREE_CSRS), self.one_of(["csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci"])
        self.write(f"{name} {self.target()}, {csr}, {self.random.randint(0, 31) if name.endswith('i') else self.source()}")

    def csr_of_fields(self) -> None:
        """CSRs with bits that are fixed, as far as the machines need to agree."""
        rd, rs = self.target(), self.source()
        self.write(*self.random.choice([
            [f"andi t5, {rs}, -4", f"csrrw {rd}, mepc, t5"], [f"csrrs {rd}, mepc, zero"], [f"csrrc {rd}, mepc, {rs}"],
            [f"csrrwi {rd}, mepc, 12"], [f"csrrsi {rd}, mepc, 16"], [f"csrrci {rd}, mepc, 31"],
            ["csrci mstatus, 8", f"andi t5, {rs}, 0x88", "csrs mstatus, t5"], ["csrsi mstatus, 8"],
            ["li t5, 0x808", f"and t5, t5, {rs}", f"csrrw {rd}, mie, t5", "csrr t5, mie"],     # without the timer: it may be due
            [f"csrr {rd}, misa"], [f"csrr {rd}, mhartid"], [f"csrrs {rd}, mconfigptr, zero"],
            [f"csrr zero, {self.one_of(READ_ONLY_CSRS)}"], ["csrr t5, mtvec", "csrw mtvec, t5", f"mv {rd}, t5"]]))

    def jump(self) -> None:
        """Forward, over what is not executed; bit 0 of the sum in jalr does not count."""
        label, rd = self.label(), self.target()
        odd = self.random.randint(0, 1)
        self.write(*self.random.choice([[f"jal {rd}, {label}"], [f"la t5, {label}", f"jalr {rd}, {odd}(t5)"]]),
                   f"addi {self.target()}, zero, 1", f"{label}:")

    def straight(self) -> None:
        self.choose({self.arithmetic: 9, self.immediate: 4, self.shift: 3, self.constant: 3, self.upper: 1, self.corner: 3,
                     self.load: 5, self.store: 4, self.computed: 2, self.fence: 1, self.csr: 2, self.csr_of_fields: 2,
                     self.jump: 1})

    # ---------------------------------------------------------------------------------------------- control flow

    def block(self, least: int, most: int) -> None:
        for _ in range(self.random.randint(least, most)):
            self.straight()

    def branch(self) -> None:
        label = self.label()
        self.write(f"{self.one_of(BRANCH)} {self.source()}, {self.source()}, {label}")
        self.block(1, 4)
        self.write(f"{label}:")

    def call(self) -> None:
        number = self.random.randrange(FUNCTIONS)
        link, function = LINKS[number % len(LINKS)], f"function_{number}"
        self.write(*self.random.choice([[f"jal {link}, {function}"], [f"la t6, {function}", f"jalr {link}, 0(t6)"]]))

    def loop(self) -> None:
        label = self.label()
        self.write(f"li s1, {self.random.randint(1, 12)}", f"{label}:")
        for _ in range(self.random.randint(1, 3)):
            self.choose({self.straight: 6, self.branch: 2, self.call: 1, self.trap: 1})
        self.write("addi s1, s1, -1", f"bnez s1, {label}")

    def patch(self) -> None:
        """Store another instruction over the one that follows."""
        label, word = self.label(), BASE["addi"].encode({"rd": self.random.randint(10, 15), "rs1": 0,
                                                          "imm": self.random.randint(-2048, 2047)})
        self.write(f"la t5, {label}", f"li t6, {word:#x}", "sw t6, 0(t5)", "fence.i", f"{label}: addi a0, a0, 1")

    # ---------------------------------------------------------------------------------------------- traps

    def service(self) -> None:
        self.write(self.one_of(["ecall", "ebreak"]))

    def illegal(self) -> None:
        self.write(f".word {next(illegal_words(self.random)):#010x}")

    def illegal_csr(self) -> None:
        """A write to what is read-only, or an access to what no machine has.

        The register is not 0: a value of 0 is a write too, but QEMU 7.2 does not take it for one.
        """
        csr = self.one_of([*READ_ONLY_CSRS, "time", "0x5C0", "0x9C0", "0xDC0", "0xFC0"])
        self.write("li t5, 1", f"{self.one_of(['csrrw', 'csrrs', 'csrrc'])} {self.target()}, {csr}, t5")

    def unaligned_jump(self) -> None:
        """jal, jalr or a branch (that may not be taken) to an address that is even but no multiple of 4."""
        rd, rs1, rs2 = (ABI_NAMES.index(name) for name in (self.target(), self.source(), self.source()))
        offset = self.random.choice([-2, 2, 6, 4094, -4094])
        label = self.label()
        self.write(*self.random.choice([
            [f".word {BASE['jal'].encode({'rd': rd, 'imm': offset}):#x}"],
            [f".word {BASE[self.one_of(BRANCH)].encode({'rs1': rs1, 'rs2': rs2, 'imm': offset}):#x}"],
            [f"la t5, {label}", f"jalr {ABI_NAMES[rd]}, {self.random.choice([2, 3, -2, 6])}(t5)", f"{label}:"]]))

    def no_memory(self) -> None:
        """A load, a store or a fetch where there is no memory."""
        name, label = self.one_of([*LOAD, *STORE, "fetch", "fetch", "fetch"]), self.label()
        self.write(f"li t6, {NOWHERE}")
        if name == "fetch":
            self.write(f"la t5, {label}", f"jalr {self.target()}, {4 * self.random.randint(-9, 9)}(t6)", f"{label}:")
        else:
            self.write(f"{name} {self.target() if name in LOAD else self.source()}, {8 * self.random.randint(-200, 200)}(t6)")

    def return_from_trap(self) -> None:
        label = self.label()
        self.write(f"la t5, {label}", "csrw mepc, t5", "li t6, 0x1800", "csrs mstatus, t6", "mret",
                   f"addi {self.target()}, zero, 1", f"{label}:")

    def trap(self) -> None:
        self.choose({self.service: 3, self.illegal: 3, self.illegal_csr: 2, self.unaligned_jump: 3, self.no_memory: 3,
                     self.return_from_trap: 2})

    # ---------------------------------------------------------------------------------------------- the whole

    def text(self, body: Callable[[], None]) -> str:
        """The program whose main line `body` writes."""
        self.write(".text", ".globl program, initial, buffer", "program:")
        body()
        self.write("tail finish")
        for number in range(FUNCTIONS):
            link = LINKS[number % len(LINKS)]
            self.kept = (link,)
            self.write(f"function_{number}:")
            self.block(2, 8)
            self.write(f"jr {link}")
        values = [self.random.choice([*EDGES, self.random.getrandbits(64)]) for _ in range(32)]
        self.write(".data", ".balign 8", "initial:", *(f".dword {value:#x}" for value in values), "buffer:",
                   *(f".dword {self.random.getrandbits(64):#x}" for _ in range(BUFFER // 8)))
        return "\n".join(self.lines) + "\n"

    def main_line(self) -> None:
        for _ in range(ITEMS):
            self.choose({self.straight: 24, self.branch: 5, self.loop: 2, self.call: 3, self.trap: 3, self.patch: 1})


def program(number: int) -> str:
    """The random program of that number, as GNU assembly."""
    source = Source(number)
    return source.text(source.main_line)


def illegal_program(number: int, count: int = 250) -> str:
    """A program of `count` words that are no instructions, one after the other."""
    source = Source(f"illegal {number}")
    words = illegal_words(source.random)
    return source.text(lambda: source.write(*(f".word {next(words):#010x}" for _ in range(count))))


def illegal_words(numbers: random.Random) -> Iterator[int]:
    """Words that the Slim machine does not know. Not those of its own extension, nor what could be 16 bits long but 0.

    QEMU 7.2 knows more of three kinds: sfence.vma also without supervisor mode, atomic operations on 64 bits also without
    extension A, and a write of 0 to a read-only CSR.
    """
    while True:
        word = numbers.getrandbits(32)
        if numbers.random() < 0.9:                                      # mostly at most a few bits beside an instruction
            row = numbers.choice(list(BASE.values()))
            word = (word & ~row.mask | row.match) ^ 1 << numbers.randint(2, 31) ^ numbers.randint(0, 1) << numbers.randint(2, 31)
        if word & 0xFE00_7FFF == 0x1200_0073 or word & 0x707F == 0x302F or (word & 0x7F == 0x73 and word >> 12 & 3 >= 2):
            continue
        if word & 3 == 3 and word & 0x7F not in XSLIM_OPCODES and decode(word) is None:
            yield 0 if numbers.random() < 0.05 else word
