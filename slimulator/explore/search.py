"""Search: instead of all points of a study, those that promise most, found by what the ones before gave.

    results = search(study, ("bits_per_byte", "joules_per_token"), 64, Path("out"), seed=1)
    results.front("bits_per_byte", "joules_per_token")

Optuna chooses: NSGA-II for several objectives, TPE for one. It is asked for BATCH points at a time, and told of them in order. So
the points, and the front, depend on the seed alone, for any number of workers. Points that are known are not done again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isa.counters import COUNTERS
from isa.hints import nearest
from slimulator.explore.axes import Value
from slimulator.explore.errors import StudyError
from slimulator.explore.plan import make_plan
from slimulator.explore.pool import Pool
from slimulator.explore.study import Study
from slimulator.explore.sweep import Follow, Told, opened
from slimulator.explore.table import MAIN, Results, Row
from slimulator.explore.work import DONE

BATCH = 8                       # points that are chosen before any of them is known
_GENERATION = 16                # of NSGA-II
_MOST_PLANNED = 10_000          # points that are planned at once, in seconds
_OTHERS = ("seconds", "seconds_to_first_token", "joules", "cycles", "program_bytes")
_POINTS = "points"              # the name of what chooses an entry of a list


def objectives_of(text: str, study: Study) -> tuple[str, ...]:
    """The columns that are to be low. Raises StudyError for one that is no number of the table, or will be empty."""
    names = tuple(name.strip() for name in text.split(","))
    known = [*MAIN, *_OTHERS, *COUNTERS]
    for name in names:
        if name not in known:
            raise StudyError("--optimise", name, f"columns of the table: {', '.join([*MAIN, *_OTHERS])}, or a counter",
                             nearest(name, known))
    if len(set(names)) < len(names):
        raise StudyError("--optimise", text, "each column once")
    scored = any(study.axes.get("text", ())) or all(point.get("text") for point in study.points or ({},))
    if "bits_per_byte" in names and not scored:
        raise StudyError("--optimise", "bits_per_byte without a text", "--text F, which is scored")
    return names


def search(study: Study, objectives: tuple[str, ...], trials: int, out: Path, *, seed: int = 1, workers: int | None = None,
           pool: Pool | None = None, store: str = "", told: Told = lambda _progress: None) -> Results:
    """The rows of `trials` points, in the order in which they were chosen. Raises StudyError, OSError."""
    _check(study)
    chooser = _chooser(len(objectives), seed)
    said: list[dict[str, Value]] = []
    with opened(out, workers, pool) as (records, workers_of):
        while len(said) < trials:
            asked = [chooser.ask() for _ in range(min(BATCH, trials - len(said)))]
            said += [_chosen(study, trial) for trial in asked]
            follow = Follow(make_plan(Study(study.title, {}, tuple(said), study.finding), whole=False), records, told,
                            store)
            try:
                follow.all(workers_of)
            finally:
                results = follow.results()
                results.write(out)
            for trial, row in zip(asked, results.rows[-len(asked):], strict=True):
                _tell(chooser, trial, row, objectives)
    return results


def _check(study: Study) -> None:
    """Raises StudyError for mistakes before anything runs. Of very many points: each value, with the first ones of the others."""
    if len(study) <= _MOST_PLANNED:
        make_plan(study)
        return
    firsts = {name: values[:1] for name, values in study.axes.items()}
    for name, values in study.axes.items():
        make_plan(Study(study.title, firsts | {name: values}, study.points), whole=False)


def _chooser(objectives: int, seed: int) -> Any:
    """An Optuna study. Raises StudyError where Optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise StudyError("--optimise", "Optuna is not installed", "pip install 'slimulator[explore]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed) if objectives == 1 else optuna.samplers.NSGAIISampler(
        population_size=_GENERATION, seed=seed)
    return optuna.create_study(sampler=sampler, directions=["minimize"] * objectives)


def _chosen(study: Study, trial: Any) -> dict[str, Value]:
    """The settings of a point: a value of each axis, and an entry of the list. All values are categories."""
    chosen: dict[str, Value] = {}
    for name, values in study.axes.items():
        chosen[name] = values[trial.suggest_categorical(name, list(range(len(values))))] if len(values) > 1 else values[0]
    if study.points:
        chosen |= study.points[trial.suggest_categorical(_POINTS, list(range(len(study.points))))]
    return chosen


def _tell(chooser: Any, trial: Any, row: Row, objectives: tuple[str, ...]) -> None:
    from optuna.trial import TrialState
    values = [row.get(name) for name in objectives]
    if row["status"] == DONE and all(value is not None for value in values):
        chooser.tell(trial, [float(value) for value in values if value is not None])
    else:
        chooser.tell(trial, state=TrialState.FAIL)
