"""What pyproject.toml declares is there and is used; what is in the wheel is enough to work with."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from isa.preset import preset_names
from isa.shipped import DEMO, PROGRAMS

ROOT = Path(__file__).parents[1]
DECLARED: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, TOOL = DECLARED["project"], DECLARED["tool"]
LIMIT = 120             # seconds that a child may take

MODULES = {"pillow": "PIL", "pyelftools": "elftools", "pytest-xdist": "xdist", "pytest-timeout": "pytest_timeout",
           "llama-cpp-python": "llama_cpp", "ai-edge-litert": "ai_edge_litert",
           "scikit-learn": "sklearn"}             # where the names differ
# Used by their command, or by a library that we import: what says so instead of an import.
WORDS = {"ruff": ("Makefile", "ruff check"), "mypy": ("Makefile", "/mypy"), "pytest-xdist": ("Makefile", "-n"),
         "pytest-timeout": ("pyproject.toml", "timeout_method"),
         "accelerate": ("pyproject.toml", "accelerate is what transformers loads"),
         "ipykernel": ("tests/test_api.py", 'kernel_name="python3"'),
         "loguru": ("pyproject.toml", "what compressed-tensors imports"),
         "frozendict": ("pyproject.toml", "what compressed-tensors imports")}


def requirements() -> dict[str, str]:
    """name -> the requirement, of dependencies and extras."""
    several = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    return {re.split(r"[\[<>=!~ ]", line)[0]: line for line in several if not line.startswith("slimulator[")}


@cache
def imported(*folders: str) -> set[str]:
    """Top-level names that the Python files of some folders import."""
    found: set[str] = set()
    for path in (file for name in folders for file in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found


PACKAGES = ("isa", "asm", "emulator", "compiler", "slimulator")


@pytest.mark.parametrize("name", requirements())
def test_what_is_declared_is_used(name: str) -> None:
    """Dependencies by the packages, extras by them, by tests or by the demo's training."""
    module = MODULES.get(name, name)
    if name in WORDS:
        file, words = WORDS[name]
        assert words in (ROOT / file).read_text(encoding="utf-8")
    elif requirements()[name] in PROJECT["dependencies"]:
        assert module in imported(*PACKAGES)
    else:
        assert module in imported(*PACKAGES, "tests", "programs", "benchmarks")
    assert re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", requirements()[name]), "a tested range"


def test_extras_that_extras_name_exist() -> None:
    for lines in PROJECT["optional-dependencies"].values():
        for line in lines:
            if found := re.fullmatch(r"slimulator\[(\w+)\]", line):
                assert found[1] in PROJECT["optional-dependencies"]


def test_modules_that_are_declared_exist() -> None:
    mypy = TOOL["mypy"]
    for name in (*mypy["packages"], *TOOL["ruff"]["lint"]["isort"]["known-first-party"]):
        assert find_spec(name) is not None, name
    used = imported(*PACKAGES, "tests")
    for override in mypy["overrides"]:
        names = override["module"]
        for name in [names] if isinstance(names, str) else names:
            module = name.removesuffix(".*")
            if module.partition(".")[0] in mypy["packages"]:
                assert find_spec(module) is not None, module
            else:
                assert module in used, module
    for name in mypy["untyped_calls_exclude"]:
        assert name in used
    for script in PROJECT["scripts"].values():
        module, _, function = script.partition(":")
        assert callable(getattr(import_module(module), function))


def test_files_that_are_declared_exist() -> None:
    wheel = TOOL["hatch"]["build"]["targets"]["wheel"]
    for name in (*wheel["only-include"], *PROJECT["license-files"], PROJECT["readme"], *TOOL["pytest"]["ini_options"]["testpaths"],
                 *TOOL["pytest"]["ini_options"]["pythonpath"]):
        assert (ROOT / name).exists(), name
    files = [path.relative_to(ROOT).as_posix() for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    for pattern in TOOL["ruff"]["lint"]["per-file-ignores"]:
        assert any(fnmatchcase(file, pattern) for file in files), pattern
    for pattern in wheel["exclude"]:
        assert any(ROOT.glob(pattern)), pattern


# ------------------------------------------------------------------------------------------------ the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `pip wheel` makes it, unpacked as pip installs it."""
    folder = tmp_path_factory.mktemp("wheel")
    path, = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_what_is_needed_and_nothing_else(wheel: Path) -> None:
    names = {path.relative_to(wheel).as_posix() for path in wheel.rglob("*") if path.is_file()}
    expected = {path.relative_to(ROOT).as_posix() for folder in PACKAGES for path in (ROOT / folder).rglob("*")
                if path.suffix in (".py", ".toml", ".lark", ".csv")}
    assert "slimulator/validate/points.csv" in expected
    network = [path for path in (PROGRAMS / "networks").rglob("*") if path.suffix in (".json", ".npz")
               and path.name not in ("figures.json", "recipe.json")]
    expected |= {f"slimulator/{path.relative_to(ROOT)}" for path in (*PROGRAMS.rglob("*.s"), *DEMO.iterdir(), *network)}
    assert {f"slimulator/programs/{name}" for name in ("hello.s", "lib/macros.s", "lib/print.s",
                                                       "demo/model/model.safetensors")} <= expected
    assert expected <= names
    extra = {name for name in names - expected if ".dist-info/" not in name}
    assert extra <= {f"slimulator/programs/{name}README.md" for name in ("", "demo/", "networks/digits/")}
    assert {name.partition("/")[0] for name in expected} == set(PACKAGES)


def test_what_is_installed_works(wheel: Path, tmp_path: Path) -> None:
    """From another folder, with nothing of this checkout: a source that includes the library, and the demo model."""
    (tmp_path / "mine.s").write_text(' .include "lib/macros.s"\n .include "lib/print.s"\n .text\n_start:\n'
                                     ' li a0, 42\n call print_int\n li a0, 0\n li a7, 93\n ecall\n')
    check = ("import sys, slimulator\n"
             "assert slimulator.invoke(['asm', 'mine.s']) == 0 and slimulator.invoke(['run', 'mine.elf', '--quiet']) == 0\n"
             "assert slimulator.invoke(['generate', 'Once', '-n', '3', '--quiet']) == 0\n"
             "files = {str(module.__file__) for module in sys.modules.values() if getattr(module, '__file__', None)}\n"
             "print(*files, sep='\\n', file=sys.stderr)")
    environment = os.environ | {"PYTHONPATH": str(wheel), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("42") and "Once" in done.stdout
    outside = [line for line in done.stderr.splitlines() if line.startswith(f"{ROOT}{os.sep}") and "site-packages" not in line]
    assert outside == [] and any(line.startswith(str(wheel)) for line in done.stderr.splitlines())


def test_every_program_assembles_from_the_wheel(wheel: Path, tmp_path: Path, command) -> None:
    for path in sorted((wheel / "slimulator" / "programs").glob("*.s")):
        assert command("asm", path, "-o", tmp_path / "p.elf")[::2] == (0, "")
        assert command("asm", PROGRAMS / path.name, "-o", tmp_path / "q.elf")[0] == 0
    assert preset_names()


def test_the_users_own_library_goes_first(tmp_path: Path, command) -> None:
    """Beside the source, then -I, then what comes with the assembler."""
    (tmp_path / "m.s").write_text(' .include "lib/macros.s"\n_start: nop\n', encoding="utf-8")
    listing = "asm", tmp_path / "m.s", "--listing", "-"
    shipped = command(*listing)[1]
    assert "macros.s" in shipped
    for folder in (tmp_path / "own", tmp_path):
        (folder / "lib").mkdir(parents=True)
        (folder / "lib" / "macros.s").write_text(f"# from {folder.name}\n", encoding="utf-8")
        assert f"# from {folder.name}" in command(*listing, "-I", tmp_path / "own")[1]
    shutil.rmtree(tmp_path / "lib")
    assert command(*listing, "--include-only", tmp_path)[1] == shipped              # what comes with the assembler is trusted
    (tmp_path / "m.s").write_text(' .incbin "../pyproject.toml"\n', encoding="utf-8")          # but not what lies above it
    assert "file not found: ../pyproject.toml" in command(*listing)[2]
    (tmp_path / "m.s").write_text(' .include "lib/none.s"\n', encoding="utf-8")
    assert f"searched in {tmp_path}; -I DIR adds a directory" in command(*listing)[2]
