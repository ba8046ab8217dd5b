"""The table of a study: a row a point, with every setting, result, version and source. It is the same for any number of workers.

    results = Results(study, settings, rows)
    results.rows[0]["joules_per_token"]         a row is a dict; what it has not is None
    results.write(folder)                       results.csv, and where pyarrow is installed results.parquet
    results.front("bits_per_byte", "joules_per_token")
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isa.counters import COUNTERS
from isa.files import replacing
from isa.notebook import as_frame, as_html
from slimulator.explore.baseline import on_cpu
from slimulator.explore.plan import Point, version
from slimulator.explore.study import Study
from slimulator.explore.work import DONE, Record

Row = dict[str, Any]
NAME = "results"
FIRST = ("point", "status", "reason", "same_as")
MAIN = ("bits_per_byte", "seconds_per_token", "joules_per_token")
FIRST_TOKEN = "seconds_to_first_token"
BESIDE = ("seconds", FIRST_TOKEN, "cycles", "joules", "joules_events", "joules_standing", "bottleneck", "generated",
          "scored_tokens", "scored_bytes", "stored_weights", "cpu_seconds_per_token", "cpu_joules_per_token")
_PROMPTS = ("prompt", "prompt-file", "prune-tokens")                   # a study that says one of them shows the first token, too
LAST = ("program", "program_bytes", "version")


@dataclass(frozen=True)
class Results:
    """The rows of a study, in the order of its points. `settings`: the columns that say what a point is."""

    study: Study
    settings: list[str]
    rows: list[Row]

    @property
    def columns(self) -> list[str]:
        """All columns, in an order that depends on nothing but what there is."""
        found = {name for row in self.rows for name in row}
        fixed = (*FIRST, *self.settings, *MAIN, *BESIDE, *LAST)
        bytes_and_joules = sorted(name for name in found if name not in fixed and name not in COUNTERS)
        return [*FIRST, *self.settings, *MAIN, *BESIDE, *bytes_and_joules, *(name for name in COUNTERS if name in found), *LAST]

    @property
    def hash(self) -> str:
        """SHA-256 of the table as text: equal for the same study on any host, with any engine and any number of workers."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def count(self, status: str) -> int:
        return sum(row["status"] == status for row in self.rows)

    @property
    def done(self) -> list[Row]:
        return [row for row in self.rows if row["status"] == DONE]

    def front(self, *names: str) -> list[Row]:
        """The rows that are done and that no other one beats: in all of these columns as low, and in one of them lower."""
        def values(row: Row) -> tuple[float, ...]:
            return tuple(row[name] for name in names)

        rows = [row for row in self.done if row["same_as"] is None and all(row.get(name) is not None for name in names)]
        return sorted((row for row in rows if not any(
            values(other) != values(row) and all(a <= b for a, b in zip(values(other), values(row), strict=True))
            for other in rows)), key=values)

    # -------------------------------------------------------------------------------------------- as files

    def text(self) -> str:
        """The table as CSV. A number is written so that reading it gives the same number."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(row.get(name)) for name in self.columns] for row in self.rows)
        return stream.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """results.csv, and results.parquet where pyarrow is installed (the extra `explore`), each whole or not at all."""
        written = [folder / f"{NAME}.csv"]
        with replacing(written[0]) as stream:
            stream.write(self.text().encode())
        if find_spec("pyarrow"):
            from pyarrow import parquet, table
            written.append(folder / f"{NAME}.parquet")
            with replacing(written[1]) as stream:
                parquet.write_table(table({name: _alike([row.get(name) for row in self.rows]) for name in self.columns}), stream)
        return written

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame, a row a point. Raises ImportError without pandas (the extra `explore`)."""
        return as_frame(self.columns, [[row.get(name) for name in self.columns] for row in self.rows])

    # -------------------------------------------------------------------------------------------- for people

    def shown(self) -> list[list[str]]:
        """The table in short: heads, then a row a point, with what varies and what came of it."""
        names = self.study.varied
        first = any(name in _PROMPTS for name in self.study.names)
        rows = [["point", *names, "bits/byte", *["first token"] * first, "time/token", "energy/token", "bottleneck"]]
        for row in self.rows:
            said = ["" if row.get(name) is None else str(row[name]) for name in names]
            if row["status"] != DONE:
                rows.append([str(row["point"]), *said, f"{row['status']}: {row['reason'] or ''}", *[""] * (3 + first)])
                continue
            bits = row["bits_per_byte"]
            rows.append([str(row["point"]) + (f" = {row['same_as']}" if row["same_as"] else ""), *said,
                         "" if bits is None else f"{bits:.4f}", *[_quantity(row[FIRST_TOKEN], "s")] * first,
                         _quantity(row["seconds_per_token"], "s"), _quantity(row["joules_per_token"], "J"),
                         (row["bottleneck"] or "").partition(";")[0]])
        return rows

    def lines(self) -> list[str]:
        """`shown` as text, in columns."""
        rows = self.shown()
        short = [row for row in rows if row[-1] or row is rows[0]]
        widths = [max(len(row[place]) for row in short) for place in range(len(rows[0]))]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

    def _repr_html_(self) -> str:
        heads, *rows = self.shown()
        return as_html(heads, rows)


def row_of(point: Point, compiled: Record | None, result: Record, same_as: int | None, settings: Sequence[str]) -> Row:
    """The row of a point. `result` is its record, or one that says why there is none."""
    row: Row = {"point": point.number, "status": result["status"], "reason": result.get("reason") or None, "same_as": same_as}
    row |= {name: point.said.get(name) for name in settings}
    row |= dict.fromkeys((*MAIN, *BESIDE, *LAST)) | {"version": version()}
    if compiled and "digest" in compiled:
        row |= {"program": compiled["digest"][:16], "program_bytes": compiled["bytes"]}
    if result["status"] != DONE:
        return row
    time, energy, counters = result["time"], result["energy"], result["counters"]
    row |= {name: result.get(name) for name in ("bits_per_byte", "scored_tokens", "scored_bytes")}
    row |= {"generated": result["tokens"], "stored_weights": result["weights"]}
    positions = counters.get("tokens.read", 0) + counters.get("tokens.emitted", 0) - 1
    macs = sum(count for name, count in counters.items() if name.endswith(".macs")) / max(1, positions)
    row["cpu_seconds_per_token"], row["cpu_joules_per_token"] = on_cpu(result["weight_bytes"], macs)
    if time:
        row |= {name: time[name] for name in ("seconds_per_token", "seconds", "cycles", "bottleneck")}
        row[FIRST_TOKEN] = time["time_to_first_token"]
        row |= {f"busy.{queue}": part["busy"] for queue, part in time["queues"].items() if part["busy"] or part["waiting"]}
    if energy:
        row |= {"joules_per_token": energy["joules_per_token"], "joules": energy["joules"],
                "joules_standing": energy["static_joules"], "joules_events": sum(energy["by_unit"].values())}
        row |= {f"joules.{unit}": joules for unit, joules in energy["by_unit"].items() if joules}
        row |= {f"joules_standing.{unit}": joules for unit, joules in energy["static"].items() if joules}
    row |= {f"memory.{region}": size for region, size in result["memory"].items()}
    row |= counters
    return row


def _cell(value: Any) -> Any:
    return "" if value is None else repr(value) if isinstance(value, float) else value


def _alike(values: list[Any]) -> list[Any]:
    """A column of one type: text where texts and numbers are mixed."""
    kinds = {str if isinstance(value, str) else float for value in values if value is not None}
    return values if len(kinds) < 2 else [None if value is None else str(value) for value in values]


def _quantity(value: float | None, unit: str) -> str:
    from emulator.observe.cost import quantity
    return "" if value is None else quantity(value, unit)
