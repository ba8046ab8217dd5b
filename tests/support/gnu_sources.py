"""Assembly source for the comparison with GNU as: every base instruction and pseudo-instruction, every kind of operand.

Instructions come from the instruction table; the forms of the pseudo-instructions are written down here, from the RISC-V
assembly programmer's manual, because an oracle must not ask the assembler what it accepts. Each of `instructions`,
`branches` and `data` returns the lines of one source; lines stand alone, so that a difference can be reported as one line.
The seed is fixed: every run compares the same text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from isa.csrs import CSRS
from isa.formats import FIELDS, Field
from isa.instruction import Row, rows
from isa.registers import NUMBER

SEED = 20
RANDOM_LINES = 40               # per form, besides the sweep over the choices of each operand
CSR_NAMES = [name for name in CSRS if "." not in name]          # GNU knows the standard registers only
SYMBOLS = ["before", "middle", "after", "table", "text_end", "bytes", "later"]

# Forms of the pseudo-instructions: operands, then the names that take them. A word is an operand class: see `choices`.
PSEUDO_FORMS: dict[str, str] = {
    "":              "nop ret unimp scall sbreak pause",
    "rd, rs1":       "mv move not neg negw sext.b sext.h sext.w zext.b zext.h zext.w seqz snez sltz sgtz",
    "rd, rs1, rs2":  "sgt sgtu",
    "rd, constant":  "li",
    "rd, symbol":    "la lla call",
    "symbol":        "call tail",
    "symbol, rd":    "jump",
    "rs1, near":     "beqz bnez blez bgez bltz bgtz",
    "rs1, rs2, near": "bgt ble bgtu bleu",
    "far":           "j",
    "rs1":           "jr",
    "i_imm(rs1)":    "jr",
    "rs1, i_imm":    "jr",
    "rd":            "rdcycle rdtime rdinstret",
    "rd, csr":       "csrr",
    "csr, rs1":      "csrw csrs csrc",
    "csr, zimm":     "csrw csrs csrc csrwi csrsi csrci",
}

# Further forms of base instructions, beyond the syntax of their row.
BASE_FORMS: dict[str, str] = {
    "":                 "fence",
    "far":              "jal",
    "rs1":              "jalr",
    "rd, rs1":          "jalr",
    "rs1, i_imm":       "jalr",
    "i_imm(rs1)":       "jalr",
    "rd, rs1, i_imm":   "jalr add slt sltu and or xor addw",
    "rd, rs1, shamt6":  "sll srl sra",
    "rd, rs1, shamt5":  "sllw srlw sraw",
    "rd, csr, zimm":    "csrrw csrrs csrrc",
    "rd, hi":           "lui",
    "rd, rs1, lo":      "addi addiw",
    "rd, (rs1)":        "lb lh lw ld lbu lhu lwu",
    "rd, symbol":       "lb lh lw ld lbu lhu lwu",
    "rd, lo(rs1)":      "lb lh lw ld lbu lhu lwu",
    "rs2, (rs1)":       "sb sh sw sd",
    "rs2, symbol, rd":  "sb sh sw sd",
    "rs2, lo(rs1)":     "sb sh sw sd",
}

DATA = """
.data
bytes: .byte 1, 2, 3
.balign 8
table: .dword 1, 2, 3, 4
.bss
later: .zero 64
"""


def base_rows() -> list[Row]:
    """The rows of the control core: everything that GNU as knows by name."""
    return [row for row in rows() if not row.is_xslim]


def boundaries(field: Field) -> list[int]:
    """Values of `field` at which an encoder goes wrong: ends, zero, one bit set, one bit clear, and their neighbours."""
    near = {sign * (1 << bit) + nudge * field.step
            for bit in range(field.width + 1) for sign in (1, -1) for nudge in (-1, 0, 1)}
    near |= {field.minimum, field.maximum, 0, field.minimum + field.step, field.maximum - field.step}
    return sorted(value for value in near if field.fits(value))


def number(field: Field, rng: random.Random) -> int:
    """A random value of `field`."""
    return rng.randrange(field.minimum, field.maximum + 1, field.step)


def spell(value: int, rng: random.Random) -> str:
    """One of the ways to write `value` in assembly."""
    sign, size = "-" if value < 0 else "", abs(value)
    ways = [f"{value}", f"{value}", f"{sign}{size:#x}", f"{sign}0x{size:X}", f"{sign}{size:#b}", f"{sign}0{size:o}"]
    if size < 1 << 59:
        ways += [f"({value - 3} + 3)", f"({value + 7})-7", f"(({value}) << 4) / 16", f"~({~value})", f"one*({value})"]
    if 32 < value < 127 and chr(value) not in "'\\\"#;/*":
        ways.append(f"'{chr(value)}'")
    return rng.choice(ways)


def fence_set(mask: int) -> str:
    """The letters of a `fence` operand: bit 3 is i (device input), then o, r, w."""
    return "".join(letter for bit, letter in zip((8, 4, 2, 1), "iorw", strict=True) if mask & bit)


def constants(rng: random.Random) -> list[int]:
    """64-bit values on which the expansions of `li` differ: around powers of two, patterns, runs of bits, random."""
    values = {sign * (1 << bit) + nudge for bit in range(64) for sign in (1, -1) for nudge in (-2048, -1, 0, 1, 2047, 2048)}
    values |= {0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF, 0xDEAD_BEEF_CAFE_F00D,
               0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA, 0x7FFF_F800, 0x7FFF_FFFF, 0xFFFF_F800, 0x1_0000_0800}
    for _ in range(700):
        low, length = rng.randrange(64), rng.randrange(1, 64)
        run = ((1 << length) - 1) << low
        values |= {run & ((1 << 64) - 1), rng.getrandbits(rng.randrange(1, 65)), -rng.getrandbits(rng.randrange(1, 64)),
                   rng.getrandbits(20) << rng.randrange(44)}
    return sorted(value for value in values if -(1 << 63) <= value < 1 << 64)


def choices(operand: str, rng: random.Random) -> list[str]:
    """Every interesting text for an operand class: a field's name, or one of the classes that forms use."""
    match operand:
        case "rd" | "rs1" | "rs2":
            return list(NUMBER)
        case "csr":
            return CSR_NAMES + [spell(value, rng) for value in boundaries(FIELDS["csr"])]
        case "pred" | "succ":
            return [fence_set(mask) for mask in range(1, 16)]       # GNU has no spelling for the empty set
        case "b_imm" | "j_imm":
            return [f".{value:+}" for value in boundaries(FIELDS[operand])]
        case "near" | "far":
            return ["before", "middle", "after", "1b", "1f", "text_end", ".", ".+8", ".-12", "middle+4", "after-8"]
        case "symbol":
            return [*SYMBOLS, "1b", "1f", *(f"{name} + {spell(value, rng)}" for name in SYMBOLS
                                          for value in (4, 2047, 2048, -4, 0x12340, -2049))]
        case "hi":
            return [f"%hi({name})" for name in choices("address", rng)]
        case "lo":
            return [f"%lo({name})" for name in choices("address", rng)]
        case "address":
            # %hi reaches 32-bit addresses below 0x7FFFF800: the scratchpad, not the program itself.
            return ["scratch", "scratch+8", "scratch-1", "scratch+2047", "scratch+2048", "0x7ffff7ff", "one+1", "0"]
        case "constant":
            return [spell(value, rng) for value in constants(rng)]
        case _:
            return [spell(value, rng) for value in boundaries(FIELDS[operand])]


def one(operand: str, pool: list[str], rng: random.Random) -> str:
    """A random text for an operand class: any number that fits, or one of the choices."""
    field = FIELDS.get(operand)
    if field is not None and operand not in ("rd", "rs1", "rs2", "pred", "succ", "b_imm", "j_imm") and rng.random() < 0.8:
        return spell(number(field, rng), rng)
    return rng.choice(pool)


def lines(mnemonic: str, form: str, rng: random.Random) -> Iterator[str]:
    """Instructions of one form: each operand swept over its choices while the others are random, then all random."""
    operands = re.findall(r"\w+", form)
    pools = {operand: choices(operand, rng) for operand in operands}

    def line(fixed: dict[str, str]) -> str:
        texts = fixed | {operand: one(operand, pools[operand], rng) for operand in operands if operand not in fixed}
        return (mnemonic + " " + re.sub(r"\w+", lambda word: texts[word[0]], form)).rstrip()

    for operand in operands:
        for text in pools[operand]:
            yield line({operand: text})
    for _ in range(RANDOM_LINES if operands else 1):
        yield line({})


def forms() -> Iterator[tuple[str, str]]:
    """Every (mnemonic, form) of the base and of the pseudo-instructions."""
    for row in base_rows():
        yield row.mnemonic, row.syntax
    for table in (BASE_FORMS, PSEUDO_FORMS):
        yield from ((name, form) for form, names in table.items() for name in names.split())


def instructions() -> list[str]:
    """One statement per line, in blocks with labels before, among and after them."""
    rng = random.Random(SEED)
    body = list(dict.fromkeys(line for mnemonic, form in forms() for line in lines(mnemonic, form, rng)))
    near = re.compile(r"\b(before|middle|after|1[bf])\b")
    local, rest = [line for line in body if near.search(line)], [line for line in body if not near.search(line)]
    rng.shuffle(local)
    half = len(local) // 2
    return [".equ one, 1", ".equ scratch, 0x10000123", ".text", "before:", "1:", *local[:half], "middle:", *local[half:],
            "1:", "after:", *rest, "text_end:", "nop", *DATA.strip().split("\n")]


def branches() -> list[str]:
    """Conditional branches with distances on both sides of their reach, alone and in clusters that push each other out."""
    rng = random.Random(SEED + 1)
    mnemonics = [(row.mnemonic, "a0, t1, ") for row in base_rows() if row.format.name == "B"]
    mnemonics += [(name, "s3, ") for name in PSEUDO_FORMS["rs1, near"].split()]
    mnemonics += [(name, "a2, s4, ") for name in PSEUDO_FORMS["rs1, rs2, near"].split()]
    text = [".text"]
    for name, registers in mnemonics:
        for gap in (0, 4, 4080, 4084, 4088, 4092, 4096, 8192):
            skip = [f".zero {gap}"] if gap else []
            text += [f"{name} {registers}1f", *skip, "1: nop", *skip, f"{name} {registers}1b"]
    labels = 400
    for label in range(labels):                     # about 60 labels lie within reach of a branch
        text.append(f"L{label}:")
        for _ in range(rng.randrange(4)):
            name, registers = rng.choice(mnemonics)
            target = min(max(label + rng.choice((-1, 1)) * rng.randrange(45, 75), 0), labels - 1)
            text.append(f"{name} {registers}L{target}")
        text.append(f".zero {4 * rng.randrange(1, 24)}")
        if rng.random() < 0.1:
            text.append(f".balign {rng.choice((8, 16, 32))}")
    return [*text, "nop"]


def _integer(size: int, rng: random.Random) -> str:
    """A value that `size` bytes hold, signed or unsigned."""
    bits = 8 * size
    edges = [0, 1, -1, (1 << bits) - 1, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, 1 << (bits - 1)]
    return spell(rng.choice([*edges, rng.getrandbits(bits), -rng.getrandbits(bits - 1)]), rng)


def _expression(depth: int, rng: random.Random) -> tuple[str, int]:
    """A constant expression and its value; no part of it leaves 64 bits, where GNU would wrap.

    All brackets are written: GNU ranks | & ^ above + and -, which C does not.
    """
    if depth == 0:
        value = rng.choice((0, 1, rng.getrandbits(6), rng.getrandbits(31), -rng.getrandbits(31)))
        return spell(value, rng), value
    while True:
        (left, x), (right, y), amount = _expression(depth - 1, rng), _expression(depth - 1, rng), rng.randrange(1, 40)
        quotient = abs(x) // amount * (-1 if x < 0 else 1)
        text, value = rng.choice((
            (f"({left}) + ({right})", x + y), (f"({left}) - ({right})", x - y), (f"({left}) * ({right})", x * y),
            (f"({left}) & ({right})", x & y), (f"({left}) | ({right})", x | y), (f"({left}) ^ ({right})", x ^ y),
            (f"({left}) / {amount}", quotient), (f"({left}) % {amount}", x - quotient * amount), (f"-({left})", -x),
            (f"({left}) << {amount}", x << amount), (f"(({left}) & 0xffffffff) >> {amount}", (x & 0xFFFF_FFFF) >> amount),
            (f"~({left})", ~x), (f"!({left})", int(not x)),
            (f"({left}) && ({right})", int(bool(x and y))), (f"({left}) || ({right})", int(bool(x or y)))))
        if -(1 << 63) <= value < 1 << 63:
            return text, value


def _string(rng: random.Random) -> str:
    pieces = ["a", "Z", "0", " ", "#", ";", "//", "/*", "'", ",", "é", "漢",
              "\\n", "\\t", "\\\\", '\\"', "\\b", "\\f", "\\r", "\\0", "\\7", "\\12",
              "\\101", "\\377", "\\x41.", "\\x7.", "\\xfF."]
    return '"' + "".join(rng.choices(pieces, k=rng.randrange(12))) + '"'


def _float(double: bool, rng: random.Random) -> str:
    """A decimal number, none half-way between two floats: GNU as rounds those up, IEEE 754 (and we) to even."""
    largest, smallest = (308, -307) if double else (38, -37)
    edges = ["0", "-0.0", "1", "-1.5", "0.1", ".5", "5.", "1e3", "-2.5E-3", "+2", "16777218", "3.4028235e38"]
    return rng.choice([*edges, "1.17549435e-38", f"{rng.uniform(-10, 10)}e{rng.randrange(smallest, largest)}",
                       f"{rng.uniform(-1e4, 1e4):.3f}"])


def data() -> list[str]:
    """Data directives: every size, lists, expressions, symbols, strings, floats, fills, alignments, origins."""
    rng = random.Random(SEED + 2)
    integers = {"byte": 1, "half": 2, "short": 2, "2byte": 2, "word": 4, "long": 4, "int": 4, "4byte": 4,
                "dword": 8, "quad": 8, "8byte": 8}
    statements = [f".{name} {', '.join(_integer(size, rng) for _ in range(rng.randrange(1, 6)))}"
                  for name, size in integers.items() for _ in range(60)]
    statements += [f".dword {_expression(depth, rng)[0]}" for depth in (1, 2, 3, 4) for _ in range(150)]
    statements += [f".{name} {symbol} + ({spell(rng.randrange(-100, 100), rng)})" for name in ("dword", "8byte", "quad")
                   for symbol in ("begin", "end", "start", "stop", "tiny") for _ in range(8)]
    statements += [f".{name} {pair}" for name in integers
                   for pair in ("end - begin", "begin - end + 1", "(end - begin) * 2")]
    statements += [".word stop - start", ".dword stop - .", ".word . - start", ".dword tail - tiny"]
    statements += [f".{name} {', '.join(_string(rng) for _ in range(rng.randrange(1, 4)))}"
                   for name in ("ascii", "asciz", "string") for _ in range(60)]
    statements += [f".{name} {', '.join(_float(name == 'double', rng) for _ in range(rng.randrange(1, 4)))}"
                   for name in ("float", "double") for _ in range(150)]
    statements += [f".fill {repeat}{rest}" for repeat in (0, 1, 3, 7)
                   for rest in ("", *(f", {size}{value}" for size in range(1, 9) for value in
                                      ("", ", 0", ", 0x7f", ", -1", ", 0x12345678", ", 0x1122334455667788")))]
    statements += [f".{name} {rng.randrange(1, 40)}{fill}" for name in ("zero", "skip", "space")
                   for fill in ("", ", 0x5a", ", -1") if name != "zero" or not fill for _ in range(5)]
    statements += [f".{name} {power if name != 'balign' else 1 << power}{rest}" for name in ("align", "balign", "p2align")
                   for power in range(7) for rest in ("", ", 0xee", ", 0, 3", ",, 7", ", -1, 100")]
    statements += [f".org . + {rng.randrange(1, 9)}{fill}" for fill in ("", ", 0x33") for _ in range(4)]
    rng.shuffle(statements)
    # In code, GNU takes 4-byte alignment for granted: there `.balign 4` after a stray byte does nothing, while ours aligns.
    padding = [line for power in range(3, 8) for gap in (1, 2, 3, 4, 12)
               for line in (f".zero {gap}", f".balign {1 << power}", "nop", f".zero {gap}", f".p2align {power}, 0xcc",
                            f".zero {gap}", f".p2align {power - 3}, 0xcc",
                            f".balign 32, 0x13, {gap}", f".balign 16,, {gap}")]
    return [".equ one, 1", ".text", "begin: nop", "ret", "end: nop", ".data", "start:", *statements, "stop:",
            f".org start + {1 << 17}", "tail: .byte 1", ".section .rodata", "tiny: .byte 1",
            '.section .text.padding, "ax"', *padding, ".balign 4"]
