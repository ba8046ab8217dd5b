"""docs/python.md describes the arguments of a machine and every field of what a run reports. tests/test_docs.py runs its code."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emulator.machine import Machine
from emulator.threads import workers
from isa.reference import ReferenceMachine, RunResult, Step, TrapReport

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def test_arguments_of_a_machine_are_described() -> None:
    said = re.search(r"`Machine\((\w+), (\w+), (\w+)=N, (\w+)=False\)`", PAGE)
    assert said and list(said.groups()) == list(inspect.signature(Machine).parameters)
    assert list(inspect.signature(ReferenceMachine).parameters) == ["machine", "host", "time"]
    assert f"less than {workers.SMALL >> 10} KiB" in PAGE and inspect.signature(Machine).parameters["threads"].default == 1
    for wrong in (0, workers.cores() + 1):
        with pytest.raises(ValueError, match=f"{wrong} threads; expected 1..{workers.cores()}"):
            Machine("slim", threads=wrong)
    for wrong in ("2", None, 1.0, True, [1], np.float64(1)):
        with pytest.raises(TypeError, match=rf"threads={re.escape(repr(wrong))}; expected an integer, 1..{workers.cores()}"):
            Machine("slim", threads=wrong)
    assert Machine("slim", threads=np.int64(1)).threads == 1
    with pytest.raises(TypeError):
        ReferenceMachine("slim", threads=1)


@pytest.mark.parametrize("record", [RunResult, TrapReport, Step])
def test_every_field_of_a_record_is_described(record: type[Any]) -> None:
    table = PAGE.split(f"| `{record.__name__}` | is |\n")[1].split("\n\n")[0]
    described = [name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)]
    assert described == [field.name for field in fields(record)]
