"""The shape of the repository: who may import whom, and that every instruction has its row, meaning, manual entry and test."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from emulator.decode import OPERATIONS
from emulator.load_kernels import registered
from isa.instruction import TABLE, Row
from isa.preset import CORE_UNITS
from isa.units import UNITS

ROOT = Path(__file__).parents[1]

MAY_IMPORT = {"isa": set(), "asm": {"isa"}, "emulator": {"isa"}, "compiler": {"isa", "asm"},
              "slimulator": {"isa", "asm", "emulator", "compiler"}}
# By the start of the path.
ALSO = {"emulator/debug": {"asm"}, "compiler/checking": {"emulator"}, "compiler/measuring": {"emulator"},
        "compiler/running": {"emulator"}}


# ------------------------------------------------------------------------------------------------ arrows of import


def _imports(tree: ast.AST) -> Iterator[str]:
    """Top-level names of all imports, those inside functions included."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name.partition(".")[0] for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.ImportFrom(level=level) if level:
                yield "a relative import"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_of_import(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = []
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        allowed = {package} | MAY_IMPORT[package] | {to for start, more in ALSO.items() if name.startswith(start) for to in more}
        ours = {*MAY_IMPORT, "tests", "benchmarks", "a relative import"}
        wrong += [f"{name} imports {other}" for other in _imports(ast.parse(path.read_text(encoding="utf-8")))
                  if other in ours - allowed]
    assert wrong == []


def test_the_checker_of_imports_sees_what_it_should() -> None:
    text = "import asm.listing\ndef f():\n    from emulator import machine\nfrom . import x\n"
    assert list(_imports(ast.parse(text))) == ["asm", "a relative import", "emulator"]


def test_every_imported_library_is_declared() -> None:
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = {"elftools": "pyelftools", "PIL": "pillow"}
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            for name in set(_imports(ast.parse(path.read_text(encoding="utf-8")))) - set(MAY_IMPORT) - sys.stdlib_module_names:
                assert f'"{names.get(name, name)}>=' in declared, f"{path.relative_to(ROOT)} imports {name}"


# ------------------------------------------------------------------------------------------------ files

MOST_FILES = {"emulator": 16, "compiler": 10}               # beside the folders


def _runs(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a checker of types looks at."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (part for other in node.orelse for part in (other, *_runs(other)))
        else:
            yield node
            yield from _runs(node)


def _arrows(sources: dict[str, str]) -> dict[str, set[str]]:
    """Which of these modules each one imports, by name, inside functions too."""
    arrows: dict[str, set[str]] = {}
    for module, source in sources.items():
        names: set[str] = set()
        for node in _runs(ast.parse(source)):
            match node:
                case ast.Import(names=aliases):
                    names |= {alias.name for alias in aliases}
                case ast.ImportFrom(module=str(origin), names=aliases):
                    parts = {f"{origin}.{alias.name}" for alias in aliases}
                    names |= parts & sources.keys() or {origin}
        arrows[module] = names & sources.keys()
    return arrows


def _circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules of which each imports the next and the last is the first; [] if there is no circle."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle[::-1]
    return []


def test_no_file_imports_itself_by_way_of_others() -> None:
    sources = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"):
               path.read_text(encoding="utf-8") for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")}
    assert _circle(_arrows(sources)) == []


def test_a_circle_would_be_noticed() -> None:
    sources = {"a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import c\nelse:\n    import b\n",
               "b": "def f():\n    from p import c\n", "p.c": "import a.x\nimport a", "p": "", "c": "import a"}
    assert _arrows(sources) == {"a": {"b"}, "b": {"p.c"}, "p.c": {"a"}, "p": set(), "c": {"a"}}
    assert sorted(_circle(_arrows(sources))[1:]) == ["a", "b", "p.c"]
    assert _circle(_arrows(sources | {"b": ""})) == []


def test_a_folder_has_few_loose_files() -> None:
    counts = {package: len(list((ROOT / package).glob("*.py"))) for package in MOST_FILES}
    assert {package: count for package, count in counts.items() if count > MOST_FILES[package]} == {}


MANY = 10           # parameters: more than a reader keeps in mind


def _many(tree: ast.AST) -> list[str]:
    """Functions of many parameters whose docstring gives no reason: compiled code takes numbers, no records."""
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
            and len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]) >= MANY
            and "Numbers alone" not in (ast.get_docstring(node) or "")]


def test_a_function_of_many_parameters_gives_a_reason() -> None:
    files = [path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")]
    assert {str(path): names for path in files if (names := _many(ast.parse(path.read_text(encoding="utf-8"))))} == {}
    assert _many(ast.parse("def f(a, b, c, d, e, f, g, h, *, i, j): ...\ndef g(a, b, c, d, e, f, g, h, i): ...")) == ["f"]


# ------------------------------------------------------------------------------------------------ one instruction, every room


@cache
def _words(path: Path) -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    """Words in a file's strings, and patterns of the words that its f-strings make."""
    words, patterns = set(), []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else ():
        match node:
            case ast.Constant(value=str(text)):
                words |= set(re.findall(r"[\w.]+", text))
            case ast.JoinedStr(values=values):
                text = "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in values)
                for word in re.findall(r"[\w.\0]*\0[\w.\0]*", text):
                    patterns.append(re.compile(re.escape(word).replace("\0", r"[\w.]+")))
    return frozenset(words), tuple(patterns)


def _mentions(path: Path, row: Row) -> bool:
    """True if the file names the mnemonic; f-strings count that spell out unit and operation: f"lut.mac.{form}"."""
    words, patterns = _words(path)
    spelt = re.compile(re.escape(re.escape(f"{row.unit}.")) + r"\w")
    return row.mnemonic in words or any(spelt.match(pattern.pattern) and pattern.fullmatch(row.mnemonic) for pattern in patterns)


def _test_files(unit: str) -> list[Path]:
    """tests/units/test_UNIT.py, and test_UNIT_PART.py where the unit is a package."""
    if unit in CORE_UNITS:
        return [ROOT / "tests/isa/test_base_meaning.py"]
    return [*(ROOT / "tests/units").glob(f"test_{unit}.py"), *(ROOT / "tests/units").glob(f"test_{unit}_*.py")]


def _meaning(row: Row) -> bool:
    """The meaning takes the row's operands by name, the result left out."""
    operands = {operand.name for operand in row.operands if operand is not row.result}
    return set(inspect.signature(row.meaning).parameters) == {"m", *operands}


def _manual(row: Row) -> bool:
    text = (ROOT / f"docs/isa/{row.unit}.md").read_text(encoding="utf-8")
    return re.search(rf"^(\| )?{re.escape(f'{row.mnemonic} {row.syntax}'.strip())}( \||$)", text, re.MULTILINE) is not None


def _kernel(row: Row) -> bool:
    """The kernel of an Xslim row stands in the file of its unit; base instructions are in the loop."""
    if not row.is_xslim:
        return row.mnemonic in OPERATIONS or row.unit in ("rv64i", "zicsr")         # the rest is handed to the reference engine
    kernel = registered().get(row.mnemonic)
    return kernel is not None and f"{kernel.__module__}.".startswith(f"emulator.units.{row.unit}.")


ROOMS = {"meaning": _meaning, "kernel": _kernel, "manual": _manual,
         "test": lambda row: any(_mentions(path, row) for path in _test_files(row.unit))}


@pytest.mark.parametrize("room", ROOMS)
def test_every_instruction_has_its_place_in_every_room(room: str) -> None:
    missing = [mnemonic for mnemonic, row in TABLE.items() if not ROOMS[room](row)]
    assert missing == []


def test_a_missing_room_would_be_noticed(tmp_path: Path) -> None:
    path = tmp_path / "test_unit.py"
    path.write_text('run("vec.add.f32 a0, a1, a2, a3")\nrun(f"lut.mac.{form} a0")\nrun(f"{name} a0")\nrun(f"pim.{name}")\n',
                    encoding="utf-8")
    named = {mnemonic for mnemonic, row in TABLE.items() if _mentions(path, row)}
    assert "vec.add.f32" in named
    assert {"lut.mac.t2", "lut.mac.i4"} <= named
    assert not named & {"vec.sub.f32", "lut.macT.t2", "lut.build.i8", "pim.act", "add"}
    assert not _mentions(tmp_path / "none.py", TABLE["vec.add.f32"])


def test_every_unit_has_one_name_everywhere() -> None:
    for name in UNITS:
        assert (ROOT / f"isa/units/{name}.py").exists() != (ROOT / f"isa/units/{name}/__init__.py").exists()
        assert (ROOT / f"docs/isa/{name}.md").exists()
        assert _test_files(name)
    assert {path.stem for path in (ROOT / "isa/units").iterdir() if path.stem != "__pycache__"} == {"__init__", *UNITS}
    assert {row.unit for row in TABLE.values()} == set(UNITS)


def test_counters_and_csrs_of_a_unit_bear_its_name() -> None:
    for unit in UNITS.values():
        for thing in (*unit.csrs, *unit.counters, *unit.parameters, *unit.state):
            assert thing.name.startswith(f"{unit.name}."), thing.name


def test_files_of_tests_have_names_of_their_own() -> None:
    """pytest imports each file of tests by its name alone, and tests import what helps them so: a name must be the only one."""
    names = [path.stem for path in (ROOT / "tests").rglob("*.py")]
    assert [name for name in sorted(set(names)) if names.count(name) > 1] == []


def test_what_helps_tests_lies_in_support() -> None:
    tests = ROOT / "tests"
    others = [path for path in tests.rglob("*.py") if not path.name.startswith("test_") and path.name != "conftest.py"]
    assert [str(path.relative_to(tests)) for path in others if path.parent != tests / "support"] == []
    assert not {path.stem for path in others} & sys.stdlib_module_names
