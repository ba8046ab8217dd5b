"""All benchmarks with one command: `make bench`, or `python -m benchmarks [NAME ...] [--json FILE]`.

Each `bench_NAME.py` is a program of its own that prints one JSON object of figures; this one runs them one after the other, never
two at a time, prints a table and can write everything, with a description of the host, to one JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NEED_MORE = ("llamacpp",)               # only where they are named: they need packages that the project does without


def host() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.processor()) if Path("/proc/cpuinfo").exists() else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}


def rows(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(name, value) lines of a nested JSON object."""
    lines: list[tuple[str, str]] = []
    for key, value in figures.items():
        if isinstance(value, dict):
            lines += rows(value, f"{prefix}{key}.")
        else:
            lines.append((prefix + key, f"{value:,.4g}" if isinstance(value, float) else str(value)))
    return lines


def main() -> int:
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones: " + ", ".join(names))
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(names))
    if unknown:
        parser.error(f"no benchmark called {', '.join(unknown)}; there are {', '.join(names)}")
    report: dict[str, Any] = {"host": host()}
    failed = []
    for name in arguments.names or [name for name in names if name not in NEED_MORE]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, HERE / f"bench_{name}.py"], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed.append(name)
            continue
        report[name] = json.loads(done.stdout)
        for key, value in rows(report[name]):
            print(f"  {name}.{key:<58} {value:>16}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if failed:
        print("failed: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
