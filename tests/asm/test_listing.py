"""Listing, symbol map, line map, JSON: what stands where, also after errors."""

from __future__ import annotations

import json

from asm import assemble_with_listing
from asm.assembly import Assembly, Frame, ListingLine
from asm.diagnostics import Diagnostic, Note, Span
from asm.listing import as_json, line_map, listing, symbol_map
from isa.program import Line, Program, Section, Symbol

CODE = 0x8000_0000
LINES = [
    ListingLine(".text", CODE, 0, b"", "main.s", 1, "# twice"),
    ListingLine(".text", CODE, 4, bytes.fromhex("13051500"), "main.s", 2, "_start: addi a0, a0, 1"),
    ListingLine(".text", CODE + 4, 0, b"", "main.s", 3, "  double a0"),
    ListingLine(".text", CODE + 4, 4, bytes.fromhex("3305a500"), "lib.s", 7, "  add a0, a0, a0",
                (Frame("macro", "double", "main.s", 3),)),
    ListingLine(".data", CODE + 4096, 1000, bytes(range(64)), "main.s", 5, '  .incbin "weights"'),
    ListingLine(".bss", CODE + 8192, 300, b"", "main.s", 6, "  .zero 300"),
]
PROGRAM = Program(
    [Section(".text", "ax", CODE, 4, [bytes(8)]), Section(".data", "aw", CODE + 4096, 8, [bytes(1000)])],
    [Symbol("w", CODE + 4096, 1000, "object", "local", ".data"), Symbol("_start", CODE, 8, "func", "global", ".text"),
     Symbol("N", 3)],
    [Line(CODE, "main.s", 2), Line(CODE + 4, "main.s", 2), Line(CODE + 8, "lib.s", 7)], CODE)
GOOD = Assembly(PROGRAM, [], PROGRAM.symbols, lambda: LINES)

EXPECTED = """\
 line  address     bytes                 source

main.s, section .text
    1  80000000                          # twice
    2  80000000    13051500              _start: addi a0, a0, 1
    3  80000004                            double a0

lib.s, section .text
    7  80000004    3305a500              >   add a0, a0, a0

main.s, section .data
    5  80001000    00010203 04050607       .incbin "weights"
       80001008    08090a0b 0c0d0e0f
       80001010    10111213 14151617
       80001018    18191a1b 1c1d1e1f
                   ... 968 more bytes

main.s, section .bss
    6  80002000                            .zero 300
                   ... 300 zero bytes
"""


def test_a_listing_in_full() -> None:
    assert "\n".join(listing(GOOD)) == EXPECTED


def test_errors_stand_beneath_their_lines() -> None:
    lines = [ListingLine("", None, 0, b"", "main.s", 1, "addi a0, a0, 5000"), ListingLine("", None, 0, b"", "main.s", 2, "nop")]
    failed = Assembly(None, [
        Diagnostic("5000 is out of range", Span("main.s", 1, 14, 4, "addi a0, a0, 5000"), "use li",
                   (Note("in macro `m`, called here", Span("main.s", 9)),)),
        Diagnostic("unused", Span("main.s", 2), severity="warning"),
        Diagnostic("no such file", Span("other.s", 1)),
    ], [], lambda: lines)
    margin = " " * 41
    assert "\n".join(listing(failed)).splitlines()[3:] == [
        "    1                                    addi a0, a0, 5000",
        f"{margin}             ^^^^",
        f"{margin}error: 5000 is out of range",
        f"{margin}hint: use li",
        f"{margin}main.s:9: note: in macro `m`, called here",
        "    2                                    nop",
        f"{margin}warning: unused",
        "",
        "other.s:1: error: no such file",
        "2 errors, 1 warning",
    ]


def test_an_error_stands_beneath_the_expansion_that_it_is_about() -> None:
    frame = (Frame("macro", "m", "main.s", 9),)
    lines = [ListingLine(".text", CODE, 0, b"", "main.s", 2, f"  addi a0, a0, {value}", frame) for value in (1, 9999)]
    failed = Assembly(None, [Diagnostic("too large", Span("main.s", 2, 16, 4, "  addi a0, a0, 9999"))], [], lambda: lines)
    text = list(listing(failed))
    assert text[-5].endswith(">   addi a0, a0, 9999")
    assert text[-4].index("^") == text[-5].index("9999")


def test_a_very_long_line_is_cut() -> None:
    long = Assembly(PROGRAM, [], [], lambda: [ListingLine(".text", CODE, 4, bytes(4), "main.s", 1, "#" + "x" * 1_000_000)])
    assert max(map(len, listing(long))) < 250


def test_symbol_map() -> None:
    assert "\n".join(symbol_map(PROGRAM.symbols, PROGRAM.sections)) == """\
address                     size  flags  section
0x0000000080000000             8  ax     .text
0x0000000080001000          1000  aw     .data

address                     size  binding  kind     section           symbol
0x0000000080000000             8  global   func     .text             _start
0x0000000080001000          1000  local    object   .data             w
0x0000000000000003             0  local    notype   (value)           N"""


def test_line_map() -> None:
    assert list(line_map([*PROGRAM.lines, Line(CODE + 12, "", 0)])) == [
        "address             source line",
        "0x0000000080000000  main.s:2",
        "0x0000000080000008  lib.s:7",
        "0x000000008000000c  (not known)"]


def test_json_holds_all_of_it() -> None:
    data = json.loads(json.dumps(as_json(GOOD)))
    assert data["ok"] is True
    assert [line["text"] for line in data["listing"]] == [line.text for line in LINES]
    assert data["listing"][3] == {
        "file": "lib.s", "line": 7, "section": ".text", "address": CODE + 4, "size": 4, "bytes": "3305a500",
        "text": "  add a0, a0, a0", "origin": [{"kind": "macro", "name": "double", "file": "main.s", "line": 3}]}
    assert [symbol["name"] for symbol in data["symbols"]] == ["_start", "w", "N"]
    assert data["sections"][1] == {"name": ".data", "flags": "aw", "address": CODE + 4096, "size": 1000, "align": 8}
    assert data["lines"][2] == {"address": CODE + 8, "file": "lib.s", "line": 7}


def test_a_line_in_pieces_has_its_text_once_in_json() -> None:
    source = ".macro one\n nop\n.endm\n  nop; one; nop; .data; .byte 1; .text; nop  # last\n nop\n"
    data = as_json(assemble_with_listing(source))["listing"]
    assert [(line["section"], line["size"], line["text"]) for line in data if line["line"] == 4] == [
        (".text", 4, "  nop; one; "), (".text", 4, "nop; .data; "), (".data", 1, ".byte 1; .text; "), (".text", 4, "nop  # last")]
    assert data[-1]["text"] == " nop"
    statements = "; ".join(["one"] * 2000)
    data = as_json(assemble_with_listing(f".macro one\n nop\n.endm\n{statements}\n"))["listing"]
    assert "".join(line["text"] for line in data if line["line"] == 4) == statements


def test_json_of_a_failed_run() -> None:
    failed = Assembly(None, [Diagnostic("bad", Span("a.s", 1, 2, 3), "do", (Note("here", Span("b.s", 4)),))], [], lambda: LINES[:1])
    data = json.loads(json.dumps(as_json(failed)))
    assert (data["ok"], data["sections"], data["lines"], len(data["listing"])) == (False, [], [], 1)
    assert data["diagnostics"] == [{
        "severity": "error", "message": "bad", "file": "a.s", "line": 1, "column": 2, "length": 3, "hint": "do",
        "notes": [{"message": "here", "file": "b.s", "line": 4}]}]
