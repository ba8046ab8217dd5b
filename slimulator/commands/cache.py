"""cache: show and clear what is kept from one run to the next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from slimulator.commands.shared import JSON, json_text


@click.command("cache", short_help="Show or clear what is kept: compiled kernels and programs.")
@click.argument("names", nargs=-1, type=click.Choice(["kernels", "programs"]), metavar="[kernels] [programs]")
@click.option("--clear", is_flag=True, help="Delete these files, and nothing else in these folders.")
@JSON
def cache(names: tuple[str, ...], clear: bool, as_json: bool) -> None:
    """Show what is kept between runs: kernels compiled for this processor, and programs compiled from checkpoints.

    The environment variable SLIMULATOR_CACHE_SIZE (5G) limits the programs; the limit of the kernels is a tenth of it. The files
    that were unused for the longest time are deleted first.
    """
    from isa.caches import KERNELS, PROGRAMS, temporary, usual
    rows: list[dict[str, Any]] = []
    for root in (usual(), temporary()):
        for kept in (KERNELS, PROGRAMS):
            if kept.name in (names or (kept.name,)) and (root == usual() or (root / kept.name).is_dir()):
                freed = kept.clear(root) if clear else 0
                entries = kept.entries(root)
                rows.append({
                    "cache": kept.name, "folder": str(root / kept.name), "files": sum(len(entry.files) for entry in entries),
                    "bytes": sum(entry.size for entry in entries), "limit": kept.limit, "freed": freed,
                    "oldest_use": entries[0].used if entries else None})
    if as_json:
        click.echo(json_text({"caches": rows}))
        return
    for row in rows:
        click.echo(f"{row['cache']:<9} {row['files']:>6} {'file' + 's' * (row['files'] != 1):<5} {_size(row['bytes']):>10} of "
                   f"{_size(row['limit']) + _age(row['oldest_use']):<36}  {Path(row['folder'])}")
    if clear:
        click.echo(f"{_size(sum(row['freed'] for row in rows))} freed")


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _age(used: float | None) -> str:
    """Text such as ", oldest used 3 days ago"."""
    if used is None:
        return ""
    seconds = max(0.0, time.time() - used)
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            count = int(seconds / length)
            return f", oldest used {count} {unit}{'s' * (count > 1)} ago"
    return ", all used less than a minute ago"
