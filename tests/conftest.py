"""Shared test set-up: the command line as fixtures, and outside references.

Tests in tests/oracle compare with outside references and carry the marker `oracle`.

Where a reference is not installed they skip; with SLIMULATOR_ORACLE=require in the environment, as in CI, a skip is a
failure.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import slimulator
from slimulator.commands import shared

ORACLE = Path(__file__).parent / "oracle"
REQUIRED = os.environ.get("SLIMULATOR_ORACLE") == "require"

shared._said.add(shared.FIRST_RUN)          # what commands print does not depend on who has compiled which kernel before


settings.register_profile("any host", deadline=None)        # how long an example takes says how busy the host is
settings.load_profile("any host")

GRACE = 120             # seconds behind its time limit (pyproject.toml, pytest-timeout) in which a test must have failed
_stderr = pytest.StashKey[int]()


NUMBERS = {"SLIMULATOR_FUZZ": 1, "SLIMULATOR_FUZZ_SEED": 0}        # of the environment, and the least that each may be


def pytest_configure(config: pytest.Config) -> None:
    for name, least in NUMBERS.items():
        text = os.environ.get(name)
        if text is not None and not (text.isascii() and text.isdecimal() and int(text) >= least):
            raise pytest.UsageError(f"{name} is {text!r}; expected a whole number, {least} or more, such as 100000")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:           # `make test &` in a script: tests press Ctrl-C nevertheless
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_stderr] = os.dup(2)                   # what tests write to it is captured


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """The last resort: a test that hangs where Python does not come, in compiled code, ends the process, with all stacks."""
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker else item.config.getoption("timeout") or item.config.getini("timeout") or 0)
    if limit:
        faulthandler.dump_traceback_later(limit + GRACE, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ORACLE in item.path.parents:
            item.add_marker(pytest.mark.oracle)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if REQUIRED and item.get_closest_marker("oracle"):
        _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if REQUIRED and ORACLE in collector.path.parents:
        _forbid_skip(report)
    return report


def _forbid_skip(report: Any) -> None:
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, but SLIMULATOR_ORACLE=require: {report.longrepr}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how much was tried at random: what tests have recorded as `fuzzed`, added up over all of them."""
    tried: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "fuzzed":
                    tried.update(value)
    if os.environ.get("SLIMULATOR_FUZZ") and tried:
        terminalreporter.write_line("fuzzed: " + ", ".join(f"{n:,} {what}" for what, n in sorted(tried.items())))


@pytest.fixture
def fuzzed(request: pytest.FixtureRequest) -> Generator[Counter[str]]:
    """Counts what a test tries at random, by kind; the summary of a long run says the sums."""
    tried: Counter[str] = Counter()
    yield tried
    request.node.user_properties.append(("fuzzed", dict(tried)))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]):
    """Runs a command in this process: returns exit status, stdout, stderr."""
    def run(*arguments: object) -> tuple[int, str, str]:
        status = slimulator.invoke([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err
    return run


@pytest.fixture
def assembled(command, tmp_path: Path):
    """Assembles a program's text and returns the path of its ELF file."""
    def make(text: str, *options: object) -> Path:
        (tmp_path / "program.s").write_text(text, encoding="utf-8")
        status, out, err = command("asm", tmp_path / "program.s", "-o", tmp_path / "program.elf", *options)
        assert (status, out, err) == (0, "", "")
        return tmp_path / "program.elf"
    return make
