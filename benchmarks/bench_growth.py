"""What a source can grow in, and how the assembler's time grows with it. Prints one JSON object.

For each kind of growth: microseconds for one more of it, and the exponent between two sizes, log(t2 / t1) / log(n2 / n1). 1 is in
proportion; n log n is about 1.1 here; nothing may be worse. tests/asm/test_exponents.py counts the same for small sizes.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from asm import assemble_with_listing

FACTOR = 4
SECONDS = 0.25          # a smaller size takes at least so long, so that what is the same for all sizes does not count


def lines(form: str, before: str = "", after: str = "") -> Callable[[int], str]:
    """n lines, with {i} the number of each and {j} that of the next one."""
    return lambda n: before + "".join(form.replace("{i}", str(i)).replace("{j}", str(i + 1)) + "\n" for i in range(n)) + after


def chain(form: str) -> Callable[[int], str]:
    """n definitions, each of the one before, the first a distance that the layout finds; and behind each a line that needs it."""
    return lambda n: "a: nop\n.balign 64\nb: nop\n.set y0, b - a\n" + lines(".set y{j}, y{i} + 4\n" + form)(n) + " .balign 4\n"


CASES: dict[str, Callable[[int], str]] = {
    "lines": lines(" addi a0, a1, 5 # {i}"),
    "equal lines": lines(" addi a0, a1, 5"),
    "repeated lines": lambda n: f".rept {n}\n addi a0, a1, 5\n.endr\n",
    "statements on a line": lambda n: "nop;" * n,
    "labels on a line": lambda n: "".join(f"l{i}:" for i in range(n)) + "nop\n",
    "repetitions on a line": lambda n: ".rept 2; nop; .endr;" * n,
    "repetitions of values on a line": lambda n: ".irp x, 1, 2; .word \\x; .endr;" * n,
    "macros on a line": lambda n: "".join(f".macro m{i}; nop; .endm;" for i in range(n)) + "m0\n",
    "macro calls on a line": lambda n: ".macro m\n nop\n.endm\n" + "m;" * n,
    "operands": lambda n: " .word " + ", ".join(map(str, range(n))) + "\n",
    "characters of a string": lambda n: ' .ascii "' + "x" * 100 * n + '"\n .balign 4\n',
    "escapes of a string": lambda n: ' .ascii "' + "\\n" * n + '" # "\n .balign 4\n',
    "characters of a comment": lambda n: "nop /* " + "* " * n + "*/\nnop # " + "/*" * n + "\n",
    "characters of a name": lambda n: "n" * 10 * n + ": nop\n j " + "n" * 10 * n + "\n",
    "blanks of a section": lambda n: ".section x" + " " * 10 * n + "y\n",
    "quotes of an argument": lambda n: ".macro m a\n nop\n.endm\n m " + '"\\' * n + "\n",
    "quotes of a file name": lambda n: '.file 1 "' + '\\"' * n + "\nnop\n",
    "labels": lines("l{i}: nop"),
    "numeric labels": lines("1: nop"),
    "jumps to labels": lines("l{i}: j l{i}"),
    "branches forwards": lines(" bnez a0, l{i}\nl{i}:"),
    "branches far away": lambda n: lines(" bnez a0, end")(n) + "end: nop\n",
    "chained branches": lambda n: "1: beq a0, a1, 1f\n" + lines("1: beq a0, a1, 1f\n beq a0, a1, 1b\n .zero 64")(n) + "1: nop\n",
    "branches of one reach": lambda n: "".join(f"l{i}: bnez a0, l{i + 400}\n nop\n" for i in range(n))
    + "".join(f"l{n + i}: nop\n" for i in range(400)),
    "branches of twice the reach": lambda n: "".join(f"l{i}: bnez a0, l{i + 500}\n nop\n" for i in range(n))
    + "".join(f"l{n + i}: nop\n" for i in range(500)),
    "a chain of reaches": lambda n: "".join(f" bnez a0, m{i + 1}\n .skip 2036\nm{i}: nop\n nop\n" for i in range(n))
    + f" .skip 16\nm{n}: nop\n",
    "a chain of skips upwards": lambda n: lines("l{i}: .skip (m{j} - l{j}) ^ 4\nm{i}:")(n) + f"l{n}: m{n}: nop\n",
    "LEB128 of what follows": lambda n: lines("l{i}: nop\n .uleb128 l{j} - l{i}\n .balign 4")(n) + f"l{n}: nop\n",
    "LEB128 around each other": lambda n: lines("l{i}: .uleb128 m{i} - l{i}")(n) + lines("m{i}:")(n) + " .balign 4\n nop\n",
    "addresses": lines(" la a0, l{i}\nl{i}:"),
    "words of labels": lines("l{i}: .word l{i}"),
    "values set": lines(".set s{i}, {i}", after="nop\n"),
    "a value set again": lines(".set s, s + 1", ".set s, 0\n", "nop\n"),
    "definitions that wait": lambda n: "".join(f".set y{i + 1}, y{i} + 1\n" for i in range(n)) + "nop\n.set y0, 1\n",
    "definitions used while they wait": lambda n: ".set y0, u\n"
    + "".join(f".set y{i + 1}, y{i} + 1\n.set b, {i}\n .word y{i}\n" for i in range(n)) + ".set u, 1\n",
    "definitions used behind": lambda n: "".join(f".set y{i + 1}, y{i} + 1\n" for i in range(n)) + ".set y0, 1\n"
    + lines(" .word y{i}")(n),
    "distances used while they wait": lambda n: "a: nop\n.balign 64\nc: nop\n.set y0, c - a\n"
    + "".join(f".set y{i + 1}, y{i} + 1\n.set b, {i}\n .word y{i}\n" for i in range(n)),
    "definitions upside down": lambda n: "".join(f".set y{i}, y{i + 1} + 1\n" for i in range(n)) + f"nop\n.set y{n}, 1\n",
    "definitions of distances": lambda n: "".join(f".set y{i + 1}, y{i} + 1\n" for i in range(n))
    + "a: nop\n.balign 64\nb: nop\n.set y0, b - a\n",
    "skips of a chain upside down": lambda n: "".join(f".set y{i + 1}, y{i} + 4\n .skip (y{i + 1} & 4) + 4\n" for i in range(n))
    + "a: nop\n.balign 64\nb: nop\n.set y0, b - a\n",
    "skips of a chain": chain(" .skip (y{i} & 4) + 4"),
    "constants of a chain": chain(" li a0, y{i}"),
    "addresses of a chain": chain(" la a0, a + y{i}"),
    "branches of a chain": chain(" bnez a0, a + y{i}"),
    "places of a chain": chain(" .org y{i}"),
    "LEB128 of a chain": chain(" .uleb128 y{i}"),
    "a chain of an unknown name": lambda n: "".join(f".set y{i}, y{i + 1} + 1\n .skip y{i}\n" for i in range(n)),
    "a chain of an error": lambda n: ".set y0, 1 / z\n" + "".join(f".set y{i + 1}, y{i} + 1\n .skip y{i}\n" for i in range(n))
    + ".set z, 0\n",
    "conditions of an unknown name": lambda n: ".set y0, u\n"
    + "".join(f".set y{i + 1}, y{i} + 1\n.if y{i}\n.endif\n" for i in range(n)),
    "a circle of definitions": lambda n: "".join(f".set y{i}, y{i + 1}\n .skip y{i}\n" for i in range(n)) + f".set y{n}, y0\n",
    "terms of a sum": lambda n: " li a0, 0 * (1" + " + 1" * n + ")\n",
    "terms with a label": lambda n: "x: .word (x - x" + " + 1" * n + ")\n",
    "parentheses": lambda n: " .word " + "(" * n + "1" + ")" * n + "\n",
    "signs": lambda n: " .word " + "-" * n + "1\n",
    "operators": lambda n: " .dword 0 * (q - p"
    + " * 1 / 1 % 5 << 0 >> 0 + 1 - 1 & 7 ^ 0 | 0 < 2 && 1 || 0" * n + ")\np: .balign 8\nq:\n",
    "expressions inside one another": lambda n: " .dword " + "(1 + " * n + "1" + ")" * n + "\n",
    "open parentheses": lambda n: " .word " + "(" * n + "1\n",
    "long numbers": lines(" .dword {i} * 0x" + "7" * 200 + " & 1"),
    "digits of a number": lambda n: " .dword " + "7" * 10 * n + "\n",
    "digits of a float": lambda n: " .double 1." + "7" * 10 * n + "\n",
    "floats": lines(" .float -{i}.5e-3, {i}\n .double 1e-300, {i}.25"),
    "signs of a float": lambda n: " .float " + "-" * n + "1.5\n",
    "characters": lambda n: " .byte " + "'a', " * n + "'b'\n .balign 4\n",
    "strings": lambda n: " .ascii " + '"x" ' * n + ', "y"' * n + "\n .balign 4\n",
    "comments": lines(" nop # {i}\n /* {i}\n */ nop // {i}"),
    "comments on a line": lambda n: "nop" + " /* x */" * n + "\n",
    "lines of a compiler": lambda n: lines('.file {j} "f{i}"\n.loc {j} {j}\n nop', '.file 0 "a" "b"\n')(n),
    "instructions by format": lines(" .insn r CUSTOM_0, 1, 0, a0, a1, a2\n"
                                    "l{i}: .insn b BRANCH, 3, a0, a1, l{i}\n .insn 0x13 + ({i} << 7)"),
    "unknown formats": lines(" .insn frob{i} 1, 2"),
    "unknown opcodes": lines(" .insn r FROB{i}, 1, 0, a0, a1, a2"),
    "fills": lines(" .fill {j}, 4, {i}\n .zero 4\n .zero 5000"),
    "fills of distances": lines("l{i}: .balign 8\nm{i}: .fill m{i} - l{i} + 4, 1, 5\n .balign 4"),
    "fills of what follows": lambda n: lines(" .skip q - p + 4")(n) + "p: .balign 8\nq: nop\n",
    "alignments of all kinds": lines(" nop\n .align 3\n .p2align 4,,3\n .balign 16, 1, 5\n .balignw 8, 7\n .p2alignl 3, 5"),
    "branches over alignments": lambda n: lines("l{i}: bnez a0, l{j}\n .balign 8")(n) + f"l{n}: nop\n",
    "files included": lines('.include "lib/macros.s"'),
    "files copied": lines('.incbin "lib/macros.s", 0, 4'),
    "missing files": lines('.include "frob{i}"\n.incbin "frob{i}"'),
    "warnings": lines('.warning "{i}"', after=" nop\n"),
    "errors": lines('.error "{i}"\n .err\n .popsection\n .endif\n .endr'),
    "common symbols": lines(".comm c{i}, 4, 4", after=" nop\n"),
    "parts of addresses": lines("l{i}: auipc a0, %pcrel_hi(l{i})\n addi a0, a0, %pcrel_lo(l{i})"),
    "choices": lambda n: ".if 0\n" + lines(".elseif {i} == -1\n nop")(n) + ".else\n nop\n.endif\n",
    "skipped lines": lambda n: ".if 0\n" + lines(" nop {i}\n.ifdef x{i}\n.endif")(n) + ".endif\n nop\n",
    "empty sections among fixed ones": lambda n: lines('.section s{i}, "aw"\n.address 0x80000000 + 16 * {i}\n .zero 16')(n)
    + lines('.section t{i}, "aw"')(n),
    "sections": lines('.section s{i}, "aw"\n .word 1'),
    "sections at addresses": lines('.section s{i}, "aw"\n.address 0x80000000 + 16 * {i}\n .word 1'),
    "sections at each other": lambda n: '.section s0, "aw"\n.address 0x80000000\n .word 1\ne0:\n'
    + lines('.section s{j}, "aw"\n.address e{i}\n .word 1\ne{j}:')(n),
    "sections below each other": lambda n: lines('.section s{i}, "aw"\n.address e{j}\n .word 1\ne{i}:')(n)
    + f'.section s{n}, "aw"\n.address 0x80000000\n .word 1\ne{n}:\n',
    "sections around others": lambda n: lines('.section s{i}, "aw"\n.address 0x80000000 + 16 * {i}\n .word 1')(n)
    + lines('.section t{i}, "aw"\n .zero 16')(n),
    "switches of sections": lines(".data\n .byte 1\n.text\n nop"),
    "pushed sections": lines(".pushsection .data", after=" .word 1\n"),
    "alignments": lines(" nop\n .balign 8"),
    "gaps": lines(" nop\n .org . + 4"),
    "macros": lines(".macro m{i} a\n addi a0, a0, \\a\n.endm\n m{i} 1"),
    "macro calls": lines(" m {i}", ".macro m a\n .word \\a\n.endm\n"),
    "lines of a macro": lambda n: ".macro m a\n" + " .word \\a\n" * n + ".endm\n m 5\n",
    "parameters of a macro": lambda n: ".macro m " + ", ".join(f"a{i}" for i in range(n)) + "\n .word \\a1\n.endm\n m "
    + ", ".join(map(str, range(n))) + "\n",
    "values of .irp": lambda n: ".irp x, " + ", ".join(map(str, range(n))) + "\n .word \\x\n.endr\n",
    "repetitions": lines(".rept 2\n nop\n.endr"),
    "conditions": lines(".if {i}\n nop\n.endif"),
    "conditions inside one another": lambda n: ".if 1\n" * n + "nop\n" + ".endif\n" * n,
    "unknown instructions": lines(" frob{i} a0"),
    "unknown directives": lines(" .frob{i}"),
    "unknown symbols": lines(" j nowhere{i}"),
    "wrong operands": lines(" addi a0, {i}"),
    "values out of range": lines(" addi a0, a0, 5000 + {i}"),
    "syntax errors": lines(" addi a0, , {i}"),
    "names defined twice": lines("x: nop"),
    "errors on one line": lambda n: "frob;" * n,
    "global symbols": lines(".globl l{i}\n.type l{i}, @function\nl{i}: nop\n.size l{i}, . - l{i}"),
}


def seconds(source: str) -> float:
    """Processor time of assembling a source."""
    start = time.process_time()
    assemble_with_listing(source)
    return time.process_time() - start


def measure(make: Callable[[int], str]) -> dict[str, float | int]:
    """Cost of one more and the exponent, from a size that takes a while and one that is larger."""
    size = 500
    while (first := seconds(make(size))) < SECONDS and size < 500_000:
        size *= 2
    second = min(seconds(make(FACTOR * size)) for _ in range(2))
    first = min(first, seconds(make(size)))
    return {"size": FACTOR * size, "microseconds": round(second / (FACTOR * size) * 1e6, 2),
            "exponent": round(math.log(second / first) / math.log(FACTOR), 2)}


def main() -> None:
    assemble_with_listing("nop")
    names = sys.argv[1:] or list(CASES)
    figures: dict[str, object] = {name: measure(CASES[name]) for name in names}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
