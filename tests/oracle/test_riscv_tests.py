"""A file in the convention of the public RISC-V tests ends as it should: exit code 0, or the number of the test that failed."""

from __future__ import annotations

from pathlib import Path

import htif
import pytest
import qemu


@pytest.mark.parametrize(("failing", "exit_code"), [(0, 0), (2, 2), (3, 3), (40, 40), (1337, (40 | 1337) >> 1 & 0xFF)])
def test_pass_and_fail(failing: int, exit_code: int, tmp_path: Path) -> None:
    done = qemu.agree(htif.build(tmp_path, f".equ FAILING, {failing}\n{htif.source('convention')}"))
    assert (done.exit_code, done.output) == (exit_code, b"")
