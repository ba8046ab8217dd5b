"""Sources that grow: a bomb of any kind ends soon with one message, an honest source of millions of lines is assembled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import asm.budget
import asm.symbols
from asm import assemble, assemble_with_listing
from asm.messages import MOST_MESSAGES

# m0 calls m1 twice, m1 calls m2 twice, ...: what m50 holds is wanted 2**50 times
TWICE = "".join(f".macro m{i}\n m{i + 1}\n m{i + 1}\n.endm\n" for i in range(50)) + ".macro m50\n{}\n.endm\n m0\n nop\n"
NESTED = ".rept 1000\n" * 9 + "{}\n" + ".endr\n" * 9 + "x: nop\n"

BOMBS = {
    "a macro that calls itself twice": ".macro m\n m\n m\n.endm\n m\n nop\n",
    "a recursion with a count": ".macro m n\n.if \\n\n m (\\n-1)\n m (\\n-1)\n.endif\n.endm\n m 60\n",
    "macros that call the next one twice": TWICE.format(" nop"),
    "new labels": TWICE.format("l\\@: .word l\\@"),
    "new symbols": TWICE.format(" .set s\\@, t\\@ + 1"),
    "new sections": TWICE.format(" .section s\\@\n .word 1"),
    "new macros": TWICE.format(" .macro n\\@\n nop\n .endm"),
    "conditions": TWICE.format(" .if \\@ & 1\n .endif"),
    "repetitions inside one another": NESTED.format(" nop"),
    "repeated expressions": NESTED.format(" .word x, x, x, x"),
    "repeated branches": NESTED.format("1: beq a0, a1, 1f\n.balign 8\n1:"),
    "repeated machines": NESTED.format(" .machine slim"),
    "an argument that doubles": ".macro d x\n d \\x\\x\n.endm\n d aaaaaaaa\n",
    "a line that squares": ".macro r a\n .ascii \"" + "\\a" * 50_000 + "\"\n.endm\n r " + "x" * 50_000 + "\n",
    "characters of characters": ".macro d x\n" + ".irpc c, \\x\n" * 5 + " nop\n" + ".endr\n" * 5 + ".endm\n d " + "a" * 3000 + "\n",
    "a long line that is skipped": NESTED.format(".if 0\n" + "nop;" * 5000 + "\n.endif"),
    "small fills": NESTED.format(" .space 4096, 1"),
    "large fills": ".rept 1000000\n .fill 1 << 30, 8, 1\n.endr\n",
    "large zeros": ".rept 1000000\n .zero 1 << 39\n.endr\n nop\n",
    "large gaps": ".rept 1000000\n nop\n .org . + (1 << 30)\n.endr\n",
    "a fill that is not loaded": ".section .comment\n .fill 1 << 36, 8, 1\n",
    "alignments": ".rept 100\n nop\n .balign 1 << 29\n.endr\n",
    "files that include the next one twice": '.include "i0"\n',
    "metadata": NESTED.format(' .meta "m.json"'),
    "contents of a file": NESTED.format(' .incbin "m.json"'),
}
# Of bombs these take the most for a unit of the budget: new names, sums of addresses, branches that are many passes until they fit.
LABELS = "".join(f"{number}: bnez a0, {number}f\n nop\n" for number in range(400))
COSTLY = {
    "new symbols": BOMBS["new symbols"],
    "repeated branches": BOMBS["repeated branches"],
    "sums of addresses": ".rept 110000\n.balign 8\n .word " + "a+" * 12 + "a-b\n.endr\na:\n.balign 16\nb:\n",
    "branches of one reach": f".rept 240\n{LABELS}.endr\n" + "".join(f"{number}: nop\n" for number in range(400)),
}
CHILD = """
import json, sys, time
from pathlib import Path
from asm import assemble_with_listing
import isa.preset; isa.preset.load_preset("slim")
def seconds(source):
    start = time.process_time()
    assembly = assemble_with_listing(source)
    return time.process_time() - start, assembly
honest = "".join(f"l{i}: addi a0, a1, {i % 2000}\\n vec.add.f32 a0, a1, a2, a3\\n" for i in range(int(sys.argv[2])))
yardsticks = [seconds(honest)[0]]
took, assembly = seconds(Path(sys.argv[1]))
yardsticks.append(seconds(honest)[0])
peak = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))    # not the parent's
print(json.dumps({"seconds": took, "yardstick": max(yardsticks), "bytes": peak,
                  "size": assembly.program.section(".text").size if assembly.program else 0,
                  "messages": [str(diagnostic) for diagnostic in assembly.diagnostics]}))
"""


def child(folder: Path, source: str, honest: int = 0) -> dict[str, object]:
    """What assembling took in a process of its own, and so many lines of an honest source before and behind it."""
    path = folder / "a.s"
    path.write_text(source)
    done = subprocess.run([sys.executable, "-c", CHILD, str(path), str(honest)], capture_output=True, text=True, timeout=120,
                          check=True, cwd=Path(__file__).parents[2])
    return dict(json.loads(done.stdout))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(50):
        (tmp_path / f"i{number}").write_text(f'.include "i{number + 1}"\n' * 2)
    (tmp_path / "i50").write_text("nop\n")
    (tmp_path / "m.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_with_one_message(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundredth of the budget: what is counted is what counts, and the place is named."""
    monkeypatch.setattr(asm.budget, "UNITS", asm.budget.UNITS // 100)
    (folder / "a.s").write_text(BOMBS[name])
    (diagnostic,) = assemble_with_listing(folder / "a.s").diagnostics
    assert "becomes too large here" in diagnostic.message or "more than 100 levels" in diagnostic.message
    assert diagnostic.span.text.strip()


def test_definitions_that_are_worked_out_again_and_again_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line needs the whole chain with another value: the square of the lines."""
    monkeypatch.setattr(asm.symbols, "MOST_WALKS", 10_000)
    chain = "".join(f".set y{i + 1}, y{i} + 1\n" for i in range(200))
    again = [f".set y0, {i}\n .word y200\n" for i in range(200)]
    assert assemble(chain + "".join(again[:50])).sections[0].bytes()[-4:] == (49 + 200).to_bytes(4, "little")
    (diagnostic,) = assemble_with_listing(chain + "".join(again)).diagnostics
    assert "becomes too large here: `y0`" in diagnostic.message and 300 < diagnostic.span.line < 400


def test_calls_that_fail_are_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks at all parameters before it fails."""
    monkeypatch.setattr(asm.budget, "UNITS", 100_000)
    source = ".macro m " + ", ".join(f"a{i}" for i in range(1000)) + ", z:req\n nop\n.endm\n" + " m\n" * 100
    diagnostics = assemble_with_listing(source).diagnostics
    assert len(diagnostics) < 30 and "becomes too large here" in diagnostics[-1].message


@pytest.mark.parametrize("name", COSTLY)
def test_a_bomb_ends_within_ten_seconds_and_a_gigabyte(name: str, folder: Path) -> None:
    """Or just stays within the budget. Ten seconds of a host where the honest source takes 0.87 s, as on a quiet one."""
    took = child(folder, COSTLY[name], honest=20_000)
    assert took["seconds"] < 10 * max(1, took["yardstick"] / 0.87), took        # type: ignore[operator, type-var]
    assert took["bytes"] < 1 << 30 and len(took["messages"]) <= 1               # type: ignore[operator, arg-type]


def test_millions_of_lines_are_assembled(folder: Path) -> None:
    took = child(folder, ".rept 3000000\n nop\n.endr\n.rept 1000000\n nop; .word 5\n.endr\n" + " nop\n add a0, a1, a2\n" * 300_000)
    assert took["messages"] == [] and took["size"] == 4 * (3_000_000 + 2_000_000 + 600_000)
    assert took["bytes"] < 450 << 20                # type: ignore[operator]


def test_a_long_string_takes_a_few_bytes_a_character(folder: Path) -> None:
    took = child(folder, '.ascii "' + "x\\n" * (2 << 20) + '" # "\n .balign 4\n')
    assert took["messages"] == [] and took["bytes"] < 250 << 20         # type: ignore[operator]


def test_a_repetition_of_plain_lines_takes_one_round() -> None:
    """Marks are kept for one round, and the listing shows all."""
    assembly = assemble_with_listing(".rept 1000\n nop; .word 5\n addi a0, a0, 1\n.endr\nend: nop\n")
    program, end = assembly.program, 0x8000_0000 + 12_000
    assert program is not None and program.symbols[0].value == end and len(program.lines) == 3
    assert (program.line_at(end - 8), program.line_at(end)) == ("<text>:1", "<text>:5")
    lines = [line for line in assembly.listing if line.depth]
    assert [(line.line, line.address, line.size) for line in lines[-2:]] == [(2, end - 12, 8), (3, end - 4, 4)]
    assert len(lines) == 2000
    assert assemble(".rept 3\n nop\n.endr\n").sections[0].bytes() == assemble("nop\nnop\nnop").sections[0].bytes()


@pytest.mark.parametrize(("source", "places"), [
    ("nop; .rept 1; nop; frob; .endr", ["<text>:1:20", "<text>:1:6"]),
    (".macro m; frob; .endm; m", ["<text>:1:11", "<text>:1:24"]),
    ("nop; .rept 1; .irp x, 1; frob\\x\n .endr; .endr", ["<text>:1:26", "<text>:1:15", "<text>:1:6"]),
    (".irp x, 0, 1\n.if \\x\n .rept 1; frob\n .endr\n.endif\n.endr", ["<text>:3:11", "<text>:3:2", "<text>:1:1"]),
])
def test_a_body_behind_its_opening_keeps_lines_and_columns(source: str, places: list[str]) -> None:
    (diagnostic,) = assemble_with_listing(source).diagnostics
    assert [span.place() for span in (diagnostic.span, *(note.span for note in diagnostic.notes))] == places
    assert diagnostic.span.picture().splitlines()[2].index("^") == diagnostic.span.picture().splitlines()[1].index("frob")


def test_a_repetition_in_a_section_of_zeros_is_refused_once() -> None:
    diagnostics = assemble_with_listing("nop\n.bss\n.rept 5\n nop\n.endr\n.rept 5\n .word 1\n.endr\n").diagnostics
    assert diagnostics and all("holds only zeros" in diagnostic.message for diagnostic in diagnostics)


def test_errors_are_counted_when_there_are_too_many() -> None:
    assembly = assemble_with_listing("".join(f" frob{number} a0\n" for number in range(5000)))
    assert len(assembly.diagnostics) == 1001
    assert str(assembly.diagnostics[-1]) == "<text>:1: error: and 4000 more errors: the first 1000 are told"
    warned = assemble_with_listing('.rept 1500\n.warning "w"\n.endr\n nop\n')
    assert warned.program is not None and "500 more warnings" in warned.diagnostics[-1].message


def test_unknown_names_cost_no_search_once_they_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import asm.assembler as assembler
    calls: list[str] = []
    monkeypatch.setattr(assembler, "nearest", lambda name, known: calls.append(name) or "")
    assemble_with_listing("".join(f" frob{number} a0\n .frob{number}\n" for number in range(3000)))
    assert len(calls) == MOST_MESSAGES
