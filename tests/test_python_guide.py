"""The code of docs/python.md runs in the order of the page, and prints what stands behind `#` in the lines that print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


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
