"""The code of docs/python.md runs in the order of the page, and prints what stands behind `#` in the lines that print."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from emulator.machine import Machine
from emulator.threads import workers
from isa.reference import ReferenceMachine, RunResult, Step, TrapReport

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {"__name__": "guide"}
    for block in BLOCKS:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block, "docs/python.md", "exec"), names)
        says = [line for line in block.splitlines() if re.search(r"^\s*(print|machine\.hook)\(.*  # ", line)]
        expected = [line.rpartition("  # ")[2] for line in says]
        assert printed.getvalue().splitlines() == expected
    assert len(BLOCKS) >= 5


def test_arguments_of_a_machine_are_described() -> None:
    said = re.search(r"`Machine\((\w+), (\w+), (\w+)=N\)`", PAGE)
    assert said and list(said.groups()) == list(inspect.signature(Machine).parameters)
    assert list(inspect.signature(ReferenceMachine).parameters) == ["machine", "host"]
    assert f"less than {workers.SMALL >> 10} KiB" in PAGE and inspect.signature(Machine).parameters["threads"].default == 1
    for wrong in (0, workers.cores() + 1):
        with pytest.raises(ValueError, match=f"{wrong} threads; expected 1..{workers.cores()}"):
            Machine("slim", threads=wrong)
    with pytest.raises(TypeError):
        ReferenceMachine("slim", threads=1)


@pytest.mark.parametrize("record", [RunResult, TrapReport, Step])
def test_every_field_of_a_record_is_described(record: type[Any]) -> None:
    table = PAGE.split(f"| `{record.__name__}` | is |\n")[1].split("\n\n")[0]
    described = [name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)]
    assert described == [field.name for field in fields(record)]
