"""A page names whatever an implementer needs: functions and constants that meanings reach, traps with their mtval, counters.

What must be there is found in the compiled code, by the values that names have: not in the way the manual finds it.
"""

from __future__ import annotations

import dis
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.effects import counters, csrs, trap_rules
from isa.engine.operand_checks import check_operands
from isa.engine.vocabulary import Vocabulary
from isa.instruction import TABLE, Row, rows
from isa.manual import pages
from isa.manual.entry import families, family_name
from isa.manual.notation import NOTATION
from isa.manual.vocabulary import STATE, anchor
from isa.units import UNITS

# What tables say: the other tests of the manual hold that they are complete.
TABLES = {"COUNTERS": "counters", "CSRS": "csrs", "BY_ADDRESS": "csrs", "COUNTER_BY_ADDRESS": "csrs", "NUMBERS": "services",
          "Cause": "traps", "Trap": "traps"}
PAGES = {"isa.arithmetic": "arithmetic", "isa.half": "arithmetic", "isa.numbers": "numbers"}


@cache
def generated() -> dict[str, str]:
    return dict(pages())


def page(name: str) -> str:
    return generated()[f"{name}.md"]


@cache
def origin(module: str, name: str) -> str:
    """The module that defines what another one names."""
    value = getattr(sys.modules[module], name)
    start = re.compile(rf"^((def|class) {name}\b|(\w+, )*{name}\b[^=\n]* =)", re.MULTILINE)
    package = module.rpartition(".")[0]                 # small numbers are one object, so a constant is looked for nearby first
    modules = sorted(sys.modules, key=lambda other: (not other.startswith(package), other))
    places = [module, *(other for other in modules if other.startswith("isa."))]
    return next((place for place in places if getattr(sys.modules[place], name, None) is value
                 and start.search(inspect.getsource(sys.modules[place]))), f"nowhere: {module}.{name}")


def code_of(function: Any) -> Iterator[CodeType]:
    """The code of a function and of those inside it."""
    work = [function.__code__]
    while work:
        code = work.pop()
        yield code
        work += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def named_by(function: FunctionType) -> Iterator[tuple[str, str, Any]]:
    """(module, name, value) of what the code of a function loads from modules of this package, words of the vocabulary included."""
    scope = function.__globals__
    for code in code_of(function):
        steps = list(dis.get_instructions(code))
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            attribute = following.argval if following is not None and following.opname in ("LOAD_ATTR", "LOAD_METHOD") else ""
            if step.opname == "LOAD_GLOBAL" and step.argval in scope:
                value = scope[step.argval]
                if isinstance(value, ModuleType):
                    if value.__name__.startswith("isa.") and attribute:
                        yield origin(value.__name__, attribute), attribute, getattr(value, attribute)
                elif not getattr(value, "__module__", "isa.").startswith("isa."):
                    continue
                elif isinstance(value, FunctionType | type):
                    yield value.__module__, value.__qualname__, value
                else:
                    yield origin(scope["__name__"], step.argval), step.argval, value
            elif step.opname in ("LOAD_FAST", "LOAD_DEREF") and step.argval == ("self" if "Vocabulary" in function.__qualname__
                                                                                or "State" in function.__qualname__ else "m"):
                word = getattr(Vocabulary, attribute, None)
                word = word.fget if isinstance(word, property) else word
                if isinstance(word, FunctionType):
                    yield word.__module__, word.__qualname__, word
    for cell in function.__closure__ or ():
        value = cell.cell_contents
        if isinstance(value, FunctionType) and value.__module__.startswith("isa.") and "<locals>" not in value.__qualname__:
            yield value.__module__, value.__name__, value


@cache
def needed() -> dict[tuple[str, str], Any]:
    """Everything that any meaning reaches, and what is checked in front of it: (module, name) -> value."""
    found: dict[tuple[str, str], Any] = {}
    work: list[tuple[str, str, Any]] = [item for row in rows() for item in named_by(row.meaning)]       # type: ignore[arg-type]
    work.append((check_operands.__module__, "check_operands", check_operands))
    while work:
        module, name, value = work.pop()
        if (module, name) in found or module == "isa.hints":
            continue
        found[module, name] = value
        if isinstance(value, FunctionType) and module not in PAGES:
            work += named_by(value)
        elif isinstance(value, type) and name not in TABLES:
            members = [getattr(member, "fget", member) for member in vars(value).values()]
            work += [item for member in members if isinstance(member, FunctionType) for item in named_by(member)]
    return found


def home(module: str, name: str) -> str:
    """The page on which a name must be."""
    if name in TABLES:
        return TABLES[name]
    return module.split(".")[2] if module.startswith("isa.units.") else PAGES.get(module, "vocabulary")


def test_pages_define_every_function_and_constant_that_a_meaning_reaches() -> None:
    missing = []
    for (module, name), value in needed().items():
        short = name.rpartition(".")[2]
        text = page(home(module, name))
        start = "def " if isinstance(value, FunctionType) else "class " if isinstance(value, type) else ""
        wanted = rf"^ *{start}{short}\b" if start else rf"^(\w+, )*{short}\b[^=\n]* ="
        if name not in TABLES and re.search(wanted, text, re.MULTILINE) is None:
            missing.append((module, name))
    assert missing == []
    assert ("isa.units.lut.planes", "_XNOR_WIDTH") in needed()
    assert len(needed()) > 150


def section(row: Row) -> str:
    """The entry of an instruction on its page."""
    name = next(family_name(group) for group in families(rows(row.unit)) if row in group)
    text = page(row.unit)
    found = [part for part in re.split(r"^(?=### )", text, flags=re.MULTILINE)
             if part.startswith(f"### {name}\n") and row.syntax in part and f"\n{row.text}\n" in part]
    assert len(found) == 1, row.mnemonic
    return found[0].partition("\n## ")[0]


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_an_entry_links_to_what_its_meaning_names(row: Row) -> None:
    text = section(row)
    for module, name, _ in named_by(row.meaning):                   # type: ignore[arg-type]
        short, there = name.rpartition(".")[2], home(module, name)
        links = re.findall(rf"\[`(?:[\w.]+\.)?{short}`\]\(([^)]*)\)", text)
        assert links, f"{short} is not linked"
        assert all((target.partition("#")[0].removesuffix(".md") or row.unit) == there for target in links)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_an_entry_defines_its_traps_counters_and_settings(row: Row) -> None:
    lines = section(row).splitlines()
    forms = next(group for group in families(rows(row.unit)) if row in group)
    form = row.mnemonic.removeprefix(f"{family_name(forms)}.")
    for rule in {rule for other in forms for rule in trap_rules(other)}:
        wanted = re.escape(f"| `{rule.cause.name}` | {rule.mtval} | ") + r"(?:in ([\w., ]+): )?" + re.escape(rule.when)
        found = [match[1] for match in map(re.compile(wanted).match, lines) if match]
        assert len(found) == 1, rule
        assert (found[0] is None or form in found[0].split(", ")) == (rule in trap_rules(row)), rule
    for name in counters(row):
        assert f"| `{name}` | {COUNTERS[name].text} |" in lines
    for name in csrs(row):
        assert f"| `{name}` | {CSRS[name].text} |" in lines


@pytest.mark.parametrize("name", [name for name in TABLE if re.match(r"vec\.(gemv|macT)\.(?!i8$)", name)])
def test_an_entry_says_what_each_form_takes(name: str) -> None:
    matrix = TABLE[name].operand("W").layout.form
    line = next(line for line in section(TABLE[name]).splitlines() if line.startswith("| `form` |"))
    assert f"`'{matrix}'` in {name.split('.', 2)[2]}" in line.strip("| ").partition(" | ")[2].split(", ")


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_an_entry_explains_the_names_in_the_short_meaning(row: Row) -> None:
    """Names are what stands in front of a bracket, or has a dot or an underscore in it. x: in Xslim no register."""
    known = {operand.name for operand in row.operands} | TABLE.keys() | UNITS.keys()
    known |= {name for name in re.findall(r"(\w+)(?:\[[^\]]*\])? \+?= ", row.text) if name != "x" or row.is_xslim}   # set there
    lines = section(row).splitlines()
    text = " ".join([row.text, *(operand.shape.partition("[")[2] for operand in row.operands)]).replace("isa/services.py", "")
    for name in re.findall(r"[A-Za-z]\w*\.[\w.]*\w|\b[A-Za-z]\w*_\w+|[A-Za-z]\w*(?=[(\[])", text):
        explained = any(line.startswith(f"| `{name}") for line in lines)
        assert name in known or explained, f"{name} in {row.text!r}"


def test_parts_of_the_machine_are_explained() -> None:
    """What the printed Python takes from m besides its words."""
    texts = "\n".join(page(name) for name in (*UNITS, "vocabulary"))
    for match in re.finditer(r"\b(?:m|self)\.(preset|memory|devices|host)\.(\w+)|\bm\.(\w+)", texts):
        part, of, name = match.groups()
        word = f"m.{name or part}"
        if f"\n### {word}\n" not in page("vocabulary") and f"def {name or part}" not in texts:
            assert (f"{word}.{of}" if of and word != "m.preset.banks" else word) in STATE or word in STATE, match[0]


def test_notation_is_used() -> None:
    unused = [(unit, name) for unit, some in NOTATION.items() for name in some
              if not any(f"| `{name}` |" in page(other) for other in ([unit] if unit else UNITS))]
    assert unused == []


def headings(text: str) -> list[str]:
    return [line.lstrip("#").strip() for line in re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()
            if line.startswith("#")]


def test_links_of_the_pages_lead_somewhere() -> None:
    targets = {name: {anchor(heading) for heading in headings(text)} for name, text in generated().items()}
    for name, text in generated().items():
        for file, place in re.findall(r"\]\(([\w-]*\.md|)(?:#([\w-]+))?\)", text):
            assert (file or name) in targets, f"{name}: {file}"
            assert not place or place in targets[file or name], f"{name}: {file}#{place}"


def test_headings_of_functions_are_the_only_ones_of_their_name() -> None:
    for name, text in generated().items():
        anchors = [anchor(heading) for heading in headings(text)]
        linked = set(re.findall(r"\]\(#([\w-]+)\)", text))
        assert [one for one in linked if anchors.count(one) != 1] == [], name


def test_pages_are_files_of_docs() -> None:
    assert {f"{name}.md" for name in (*UNITS, *PAGES.values(), *TABLES.values(), "vocabulary")} <= {
        path.name for path in (Path(__file__).parents[2] / "docs/isa").glob("*.md")}
