"""Shared test set-up: tests in tests/oracle compare with outside references and carry the marker `oracle`.

Where a reference is not installed they skip; with SLIMULATOR_ORACLE=require in the environment, as in CI, a skip is a
failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ORACLE = Path(__file__).parent / "oracle"
REQUIRED = os.environ.get("SLIMULATOR_ORACLE") == "require"


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
