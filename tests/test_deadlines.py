"""No test stands still: what is waited for has a deadline, and a test that hangs all the same is ended, with all stacks."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import ROOT, run

TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if path.parent.name != "support")
WAITS = {"wait", "join", "communicate", "acquire", "result"}            # of processes, threads, events, locks, futures
RUNS = {"run", "call", "check_call", "check_output"}                    # of subprocess


def without_deadline(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, call) of what may wait for ever. Processes beside a test are tests/support/children.py's."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="subprocess"), attr=name), keywords=options):
                if name == "Popen" or (name in RUNS and "timeout" not in {option.arg for option in options}):
                    yield node.lineno, f"subprocess.{name}"
            case ast.Call(func=ast.Attribute(attr=name), args=[], keywords=options) if name in WAITS:
                if "timeout" not in {option.arg for option in options}:
                    yield node.lineno, f".{name}()"


def test_no_test_waits_without_a_limit() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}: {call}" for path in TESTS
             for line, call in without_deadline(ast.parse(path.read_text(encoding="utf-8")))]
    assert found == []


def test_what_waits_without_a_limit_is_found() -> None:
    bad = ["subprocess.run(['true'])", "subprocess.Popen(x)", "thread.join()", "process.wait()", "event.wait(timeout=1)",
           "', '.join(words)", "subprocess.run(x, timeout=3)", "process.communicate(timeout=1)", "lock.acquire()"]
    assert [list(without_deadline(ast.parse(line))) != [] for line in bad] == [True] * 4 + [False] * 4 + [True]


HANGS = {
    "in Python": "import threading\n    threading.Event().wait()",
    "in another thread's name": "import threading\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()",
    "in compiled code": "import ctypes\n    lock, mutex = ctypes.PyDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)\n"
                        "    lock(mutex), lock(mutex)",                 # and no other thread of Python runs meanwhile
}


@pytest.mark.parametrize("where", HANGS)
def test_a_test_that_hangs_is_ended(where: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_hangs():\n    {HANGS[where]}\n\ndef test_passes():\n    pass\n")
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    assert conftest.count("GRACE = 120 ") == 1
    (tmp_path / "conftest.py").write_text(conftest.replace("GRACE = 120 ", "GRACE = 3 "), encoding="utf-8")
    done = run(sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-p", "no:cacheprovider",
               "-p", "no:xdist", "--timeout", "2", tmp_path / "test_it.py")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "test_hangs" in said and "test_it.py" in said
    if where != "in compiled code":
        assert "Timeout (>2.0s) from pytest-timeout" in said and "1 failed, 1 passed" in said
    else:
        assert "Timeout (0:00:05)!" in said and 'line 4 in test_hangs' in said


def test_tests_press_control_c_also_where_a_script_runs_them_in_the_background(tmp_path: Path) -> None:
    """A shell without job control has SIGINT ignored in what it starts with &: the program under test would run on."""
    (tmp_path / "test_it.py").write_text("import os, signal, pytest\n\ndef test_it():\n    with pytest.raises(KeyboardInterrupt):\n"
                                         "        os.kill(os.getpid(), signal.SIGINT)\n")
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    done = run("sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml",
               "--rootdir", tmp_path, "-p", "no:cacheprovider", "-p", "no:xdist", tmp_path / "test_it.py")
    assert done.returncode == 0, done.stdout + done.stderr
