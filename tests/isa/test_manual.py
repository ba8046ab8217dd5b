"""The manual says what the table says: entries, lookups, JSON, and docs/isa is what `make docs` writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from children import LIMIT

from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.effects import counters, csrs, trap_rules, traps
from isa.instruction import TABLE, Row, rows
from isa.manual import TOPICS, UnknownEntry, look_up, machine_answer, pages, write
from isa.manual.document import Code, Heading, Paragraph, Table, markdown, plain
from isa.manual.entry import as_json, families, picture
from isa.preset import load_preset, preset_names
from isa.reach import text_of
from isa.traps import Cause
from isa.units import UNITS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "isa"


def test_docs_are_what_make_docs_writes() -> None:
    current = pages()
    assert {path.name for path in DOCS.glob("*.md")} == set(current), "run `make docs`"
    stale = [name for name, text in current.items() if (DOCS / name).read_text(encoding="utf-8") != text]
    assert stale == [], "run `make docs`"


def test_write_removes_pages_that_no_longer_exist(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old", encoding="utf-8")
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(pages())


def test_the_module_writes_the_pages_or_says_how_it_is_used(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "isa.manual"]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "index.md").exists()
    wrong = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("usage:")


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_entry_of_an_instruction_holds_all_that_the_row_says(row: Row) -> None:
    text = plain(look_up(row.mnemonic).blocks, 10_000)
    assert text.startswith(row.mnemonic + "\n")
    assert f"    {row.mnemonic} {row.syntax}".rstrip() in text
    for part in (row.text, picture(row), row.example):
        assert all(line.strip() in text for line in part.splitlines())
    for operand in row.operands:
        assert operand.describe() in text
    for name in (*counters(row), *csrs(row), *(cause.name for cause in traps(row))):
        assert f"`{name}`" in text
    assert text_of(row.meaning).splitlines()[0].startswith("def ")


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_picture_shows_the_bits_of_the_row(row: Row) -> None:
    numbers, rule, inside, rule_below, names = picture(row).splitlines()
    cells = [cell.strip() for cell in inside.strip("|").split("|")]
    assert rule == rule_below
    assert len(inside) == len(rule)
    assert sum(len(field.segments) for field in row.format.fields) == len(cells) == len(names.split())
    fixed = "".join(cell for cell in cells if set(cell) <= {"0", "1"})
    assert len(fixed) == row.mask.bit_count()
    assert fixed.count("1") == row.match.bit_count()
    assert numbers.split()[0] == "31"
    assert numbers.split()[-1] == "0"


def test_facts_that_are_derived_from_meanings() -> None:
    """A few by hand, so that the derivation itself is held."""
    assert traps(TABLE["add"]) == []
    assert traps(TABLE["beq"]) == [Cause.FETCH_MISALIGNED]
    assert traps(TABLE["lw"]) == [Cause.LOAD_ACCESS]
    assert traps(TABLE["vec.add.f32"]) == [Cause.ILLEGAL_INSTRUCTION, Cause.LOAD_ACCESS, Cause.STORE_ACCESS, Cause.PORT,
                                           Cause.MISALIGNED_OPERAND, Cause.CAPACITY]
    assert traps(TABLE["pim.copy_bkgb"]) == [Cause.ILLEGAL_INSTRUCTION, Cause.ILLEGAL_OPERAND]      # hbm is its own memory
    assert Cause.CAPACITY in traps(TABLE["lut.build.i8"])
    assert Cause.NEVER_SIGNALLED in traps(TABLE["sync.wait"])
    assert csrs(TABLE["mret"]) == ["mstatus", "mepc"]
    assert {"lut.mode", "lut.row_stride", "lut.shift"} <= set(csrs(TABLE["lut.mac.t2"]))
    assert csrs(TABLE["pim.act"]) == [f"pim.channel_mask{i}" for i in ("", 1, 2, 3)]
    assert "attn.list_stride" in csrs(TABLE["attn.mac.f32"]) and "attn.list_stride" not in csrs(TABLE["attn.xmac.f32"])
    assert counters(TABLE["beq"]) == ["core.instructions", "core.branches", "core.branches_taken"]
    assert counters(TABLE["add"]) == counters(TABLE["csrrw"]) == ["core.instructions"]
    assert counters(TABLE["ecall"]) == ["core.instructions", "core.services", "tokens.read", "tokens.emitted"]
    assert counters(TABLE["pim.rd"])[-5:] == ["pim.row_hits", "pim.read_commands", "pim.columns_read", "pim.bytes_left",
                                              "pim.slots"]


@pytest.mark.parametrize(("mnemonic", "mtval", "names"), [
    ("attn.mac.f32",    "`stride`", ["attn.key_stride", "attn.list_stride", "attn.score_stride"]),
    ("attn.context.i8", "`stride`", ["attn.list_stride", "attn.score_stride", "attn.value_stride"]),
    ("fetch.copy2d",    "`stride`", ["fetch.dst_stride"]),                              # any src_stride is legal
    ("pim.act",         "`number`", ["bank", "row"]),
    ("pim.copy_bkgb",   "`opsize`", ["pim.buffer_column", "pim.column"]),
    ("pim.rd",          "`mode`",   ["pim.rd"])])
def test_reasons_name_what_a_helper_is_called_for(mnemonic: str, mtval: str, names: list[str]) -> None:
    reasons = [rule.when for rule in trap_rules(TABLE[mnemonic]) if rule.mtval == mtval]
    assert len(reasons) == len(names)
    assert all(any(re.search(rf"\b{re.escape(name)} ", reason) for reason in reasons) for name in names)


def test_no_reason_leaves_open_what_it_speaks_of() -> None:
    reasons = {rule.when for row in TABLE.values() for rule in trap_rules(row)}
    assert [reason for reason in reasons if re.search(r"\{(name|what|row)\}", reason)] == []


def test_the_manual_does_not_speak_of_the_sources() -> None:
    """It is for readers who have no sources: outside of code, no page names a file of ours, its tables or how it was made."""
    assert len(pages()) > 15
    for name, text in pages().items():
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).split("-->")[1]
        for leak in (r"\b(isa|asm|emulator|compiler)/\w", r"FORMATS\[", "go to the manual", "docstring"):
            assert not re.search(leak, prose), (name, leak)


def test_rows_of_a_loop_have_counters_of_their_own() -> None:
    assert counters(TABLE["vec.relu.f32"]) == ["core.instructions", "vec.ops", "vec.elements"]
    assert counters(TABLE["vec.silu.f32"]) == [
        "core.instructions", "vec.ops", "vec.elements", "vec.exponentials", "vec.divisions"]
    for operation in ("mac", "macT", "gemv"):
        codebook, plane = (set(counters(TABLE[f"lut.{operation}.{form}"])) for form in ("c4", "t2"))
        assert plane - codebook == {"lut.buffer_reads", "lut.groups_skipped"} and codebook < plane


def test_rows_that_share_a_meaning_share_an_entry() -> None:
    groups = families(rows("lut"))
    assert sorted(row.mnemonic for group in groups for row in group) == sorted(row.mnemonic for row in rows("lut"))
    forms = next(group for group in groups if group[0].mnemonic.startswith("lut.mac."))
    text = plain(look_up("lut.mac").blocks)
    assert text.startswith("lut.mac\n")
    for row in forms:
        assert f"{row.mnemonic} {row.syntax}  {row.match:#010x}" in text


def test_json_rebuilds_the_encoding() -> None:
    data = json.loads(json.dumps(look_up().data))
    assert [row["mnemonic"] for row in data] == list(TABLE)
    for row in data:
        bits = {field["name"]: field["bits"] for field in row["fields"]}
        match = 0
        for name, value in row["fixed"].items():
            for high, low, low_in_value in bits[name]:
                match |= ((value >> low_in_value) & ((1 << (high - low + 1)) - 1)) << low
        assert match == row["match"]
        assert {operand["field"] for operand in row["operands"]} | set(row["fixed"]) == set(bits)
    assert look_up("lut.mac.t2").data == as_json(TABLE["lut.mac.t2"])


@pytest.mark.parametrize("query", [*UNITS, *TOPICS, "mstatus", "lut.mode", "core.loads", "capacity", "CAPACITY"])
def test_units_topics_and_names_have_an_answer(query: str) -> None:
    answer = look_up(query)
    assert answer.data
    json.dumps(answer.data)
    assert plain(answer.blocks)
    assert markdown(answer.blocks).startswith("# ")


def test_topics_are_complete() -> None:
    assert all(name in plain(look_up("csrs").blocks) for name in CSRS if name not in COUNTERS)
    assert all(name in plain(look_up("counters").blocks) for name in COUNTERS)
    assert all(cause.name in plain(look_up("traps").blocks) for cause in Cause)
    assert "Touched by: lb, lh, lw" in plain(look_up("core.loads").blocks)
    assert "every instruction" in plain(look_up("core.instructions").blocks)
    assert "Raised by: sync.wait" in plain(look_up("never_signalled").blocks)
    for cause in Cause:
        name = cause.name.lower()
        for query in (f"trap {int(cause)}", f"Trap {name}", f"trap {int(cause)} ({name.replace('_', ' ')})"):
            assert look_up(query).data == look_up(cause.name).data, query
    assert "with 'trap order'" in plain(look_up("trap order").blocks)           # other words are searched for
    with pytest.raises(UnknownEntry, match=r"no trap has the number 99; the traps are 0 fetch_misaligned, .*24 port"):
        look_up("trap 99")


@pytest.mark.parametrize(("query", "nearest"), [("lut.mak.t2", "lut.mac.t2"), ("vex", "vec"), ("conuters", "counters"),
                                               ("lut.moda", "lut.mode"), ("sync.wiat", "sync.wait")])
def test_an_unknown_query_names_the_nearest_entries(query: str, nearest: str) -> None:
    with pytest.raises(UnknownEntry) as caught:
        look_up(query)
    assert nearest in str(caught.value)


def test_names_that_introductions_explain() -> None:
    """Modes and words of micro-programs stand in no table."""
    for query, says in ((".crf", ("up to 32 words in the CRF", "|opcode| count", "JUMP with count and offset")),
                        ("crf", ("32 words",)),
                        ("HAB", ("A channel is in one of three modes", "Modes change by")), ("even_bank", ("2 even_bank",))):
        answer = look_up(query)
        assert all(text in plain(answer.blocks, 10_000) for text in says), query
        assert says[0] in answer.data["introductions"]["pim"]
    assert {"name": "pim", "kind": "unit", "text": UNITS["pim"].title} in look_up("bank").data      # a word, not a name: a search


def test_names_that_begin_so_are_hinted_at_first() -> None:
    with pytest.raises(UnknownEntry, match=r"did you mean pim\.mac_sbk or pim\.mac_abk or "):
        look_up("pim.mac")
    for name in preset_names():
        with pytest.raises(UnknownEntry, match=f"hint: `slimulator machines {name}` prints"):
            look_up(name.upper())


def test_a_query_that_is_near_nothing_says_where_to_look() -> None:
    with pytest.raises(UnknownEntry, match="lists units"):
        look_up("0123456789")


def test_every_figure_of_a_preset_is_printed_with_its_source() -> None:
    for name in preset_names():
        preset = load_preset(name).file
        text = plain(machine_answer(load_preset(name)).blocks, 10_000)
        figures = [preset.clock_hz, *preset.facts.values(), *preset.rates.values(), *preset.energy.values(), *preset.power.values(),
                   *(f for region in preset.region.values() for _, f in region if f),
                   *(f for unit in preset.unit.values() for f in unit.parameters.values())]
        assert all(figure.source in text for figure in figures)


def test_blocks_in_both_renderings() -> None:
    blocks = [Heading(1, "Title"), Paragraph("one two three\n\nfour"), Code("a  b", "asm"), Table(("x", "is"), [("1", "a|b c d")])]
    assert markdown(blocks) == ("# Title\n\none two three\n\nfour\n\n```asm\na  b\n```\n\n"
                                "| x | is |\n| --- | --- |\n| 1 | a\\|b c d |\n")
    assert plain(blocks, 9) == "Title\n=====\n\none two\nthree\n\nfour\n\n    a  b\n\n  x  is\n  1  a|b c d\n"
