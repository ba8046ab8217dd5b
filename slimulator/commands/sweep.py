"""sweep: many configurations in one command. The work is done in slimulator/explore."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from slimulator.commands.compile import compile_program
from slimulator.commands.shared import BINARY, say, to_stdout

TRIALS = 64                 # of a search
_SAY_EVERY = 30.0           # seconds between two lines about progress where stderr is no terminal
_MOST_SHOWN = 60            # rows of the table on a terminal; the file has all
_OWN = {"output", "tokenizer", "source", "predict", "reuse"}      # no axes: --predictor and --reuse-columns say it all
_RUN = (("--shape", "shape", "S,...", "Random weights of these sizes instead of a MODEL: 15m, 125m, 730m, 3b."),
        ("--config", "config", "F,...", "Random weights for the models that these config.json describe."),
        ("-n", "tokens", "N,...", "Tokens to generate; by default 32."),
        ("--prompt", "prompt", "TEXT", "The text that is continued; by default \"Once upon a time\"."),
        ("--prompt-file", "prompt-file", "F,...", "Files with the text that is continued, instead of --prompt."),
        ("--depth", "depth", "D,...", "With --shape or --config: tokens of the prompt; by default 1."),
        ("--text", "text", "F,...", "Score this text too, for bits_per_byte."),
        ("--score", "score", "N,...", "How many tokens of it; by default 1000."),
        ("--scored", "scored", "half", "Score the second half of each document alone, as points with --prune-tokens always do."))
_WHOLE = ("prompt", "prune-tokens")     # axes whose values have commas: an option is one value


def _axes(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each axis: those of the compiler, then what is run."""
    options = [click.option(option.opts[0], _axis(name := option.opts[0].removeprefix("--")), multiple=True,
                            metavar="V" if name in _WHOLE else "V,...",
                            help="Axis: values of this option, as compile takes them; none leaves it out."
                                 + " Several: give it several times." * (name in _WHOLE))
               for option in compile_program.params if isinstance(option, click.Option) and option.name not in _OWN]
    options += [click.option(flag, _axis(name), multiple=True, metavar=metavar, help=f"Axis: {text[0].lower()}{text[1:]}")
                for flag, name, metavar, text in _RUN]
    return reduce(lambda decorated, option: option(decorated), reversed(options), command)


def _axis(name: str) -> str:
    """The parameter of a command for an axis. No name of an axis has an underscore."""
    return f"axis_{name.replace('-', '_')}"


@click.command("sweep", short_help="Many configurations side by side: formats, sparsities, machines, figures.")
@click.argument("names", nargs=-1, metavar="[STUDY.toml] [MODEL]...")
@click.option("--set", "figures", multiple=True, metavar="FIGURE=V,...",
              help="Axis: values of a figure of the machine, by the name that `slimulator machines` prints "
                   "(region.sram.size=64K,256K), or as --what-if takes it (lut=2,4).")
@_axes
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder of the results; by default STUDY.results, or sweep.results. What is known there is not done again.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes, at most one a core; by default one for each.")
@click.option("--cluster", metavar="URL", help="Do the points on the workers of this Dask scheduler (tcp://HOST:8786) instead.")
@click.option("--store", metavar="DIR|URL",
              help="Share compiled programs and kernels with other workers there: a folder, or what fsspec knows (s3://...).")
@click.option("--report", type=BINARY, metavar="F.html",
              help="Write a page with pictures: accuracy against energy, figures along the axes. One file, without network.")
@click.option("--optimise", metavar="COLUMN,...",
              help="Search instead of doing all points: let these columns of the table become low, such as "
                   "bits_per_byte,joules_per_token. Needs Optuna.")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="With --optimise: points to try; by default 64.")
@click.option("--seed", type=int, metavar="S", help="With --optimise: seed of the choices; by default 1.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and what it takes; do nothing.")
def sweep(names: tuple[str, ...], figures: tuple[str, ...], out: Path | None, workers: int | None, report: Path | None,
          dry_run: bool, **said: Any) -> int:
    """Compile, run and score every combination of the values that the axes have. The table is DIR/results.csv, a row a point.

    STUDY.toml has the axes, or options name them; options go before the file. MODEL is a checkpoint, by default the demo model. A
    point that the compiler or the machine refuses is a row with the reason. Stop it with Ctrl-C: the same command goes on.
    """
    from isa.files import check_directory
    from isa.text import counted
    from slimulator.explore.cluster import Cluster
    from slimulator.explore.errors import StudyError
    from slimulator.explore.plan import make_plan
    from slimulator.explore.pool import usual_workers
    from slimulator.explore.records import Records
    from slimulator.explore.search import objectives_of, search
    from slimulator.explore.store import Store
    from slimulator.explore.sweep import sweep as run
    from slimulator.explore.table import NAME
    optimise, trials, seed = (said.pop(name) for name in ("optimise", "trials", "seed"))
    cluster, store = said.pop("cluster"), said.pop("store") or ""
    if cluster and workers:
        raise click.UsageError("--workers is for this host; --cluster has workers of its own")
    if not optimise and (trials is not None or seed is not None):
        raise click.UsageError("--trials and --seed go with --optimise")
    if report:
        check_directory(report)
    try:
        study, stem = _study(names, figures, said)
        objectives = objectives_of(optimise, study) if optimise else ()
        out = out or Path(f"{stem}.results")
        if dry_run:
            plan, records = make_plan(study), Records(out)
            known = sum(records.compiled(key) is not None for key in plan.compiles)
            to_stdout(plan.lines(workers or usual_workers(), known))
            return 0
        if store:
            Store(store)
        pool = Cluster(cluster) if cluster else None
        if objectives:
            results = search(study, objectives, trials or TRIALS, out, seed=1 if seed is None else seed, workers=workers, pool=pool,
                             store=store, told=_Shown())
        else:
            results = run(study, out, workers=workers, pool=pool, store=store, told=_Shown())
    except StudyError as error:
        options = {option for parameter in click.get_current_context().command.params for option in parameter.opts}
        dashes = "" if error.file or f"--{error.key}" not in options else "--"
        raise click.UsageError(dashes + str(error).replace(f"{error.file}: error: ", f"{error.file}: ", 1)) from None
    except KeyboardInterrupt:
        say(f"interrupted: what is done is in {out}; the same command goes on with the rest")
        return 130
    if report:
        from slimulator.report.of_study import report_of_study
        from slimulator.report.page import write_page
        from slimulator.report.watched import command_line
        write_page(report, report_of_study(results, [command_line()]))
    lines = results.lines()
    to_stdout([*([study.title] if study.title else []), *lines[:_MOST_SHOWN + 1],
               *([f"... and {len(lines) - 1 - _MOST_SHOWN:,} more"] if len(lines) > _MOST_SHOWN + 1 else [])])
    counts = ", ".join(f"{count:,} {status}" for status in ("done", "refused", "failed") if (count := results.count(status)))
    equal = sum(row["same_as"] is not None for row in results.rows)
    say(f"{counted(len(results), 'point', ',')}: {counts}" + (f"; equal to another one: {equal:,}" if equal else ""))
    if objectives:
        front = {row["point"] for row in results.front(*objectives)}
        to_stdout(["what no other point beats:", *(line for line, row in zip(lines[1:], results.rows, strict=True)
                                                   if row["point"] in front)])
    say(f"{out / NAME}.csv")
    return int(results.count("failed") > 0 or not results.done)


def _study(names: tuple[str, ...], figures: tuple[str, ...], said: dict[str, tuple[str, ...]]) -> tuple[Any, str]:
    """The study that arguments and options ask for, and the stem of its name. Raises UsageError, StudyError, OSError."""
    from slimulator.explore.study import Study, read_study
    files = [name for name in names if name.endswith(".toml")]
    if len(files) > 1:
        raise click.UsageError(f"two studies, {files[0]} and {files[1]}; expected one")
    axes: dict[str, list[Any]] = {}
    for name, texts in said.items():
        if texts:
            axis = name.removeprefix("axis_").replace("_", "-")
            axes[axis] = list(texts) if axis in _WHOLE else [part for text in texts for part in text.split(",")]
    if models := [name for name in names if name not in files]:
        axes["model"] = models
    for text in figures:
        name, equals, values = text.partition("=")
        if not equals or not values or not name.strip():
            raise click.UsageError(f"--set {text}: expected FIGURE=V,..., such as region.sram.size=64K,256K")
        axes.setdefault(name.strip(), []).extend(values.split(","))
    study = read_study(Path(files[0])) if files else Study()
    return (study.with_axes(axes) if axes or not files else study), Path(files[0]).stem if files else "sweep"


class _Shown:
    """Shows progress on stderr: on a terminal in one line, elsewhere a line now and then."""

    def __init__(self) -> None:
        self._terminal, self._last = sys.stderr.isatty(), time.monotonic()

    def __call__(self, progress: Any) -> None:
        left = "" if progress.left is None or progress.done == progress.whole else f", about {_duration(progress.left)} left"
        text = f"{progress.what} {progress.done:,} of {progress.whole:,}{left}"
        if self._terminal:
            click.echo("\r\x1b[K" + (text if progress.done < progress.whole else ""), nl=False, err=True)
        elif time.monotonic() - self._last > _SAY_EVERY:
            self._last = time.monotonic()
            click.echo(f"{text} ...", err=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
