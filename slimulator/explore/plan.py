"""From a study to its points: what each one compiles and runs, which are equal, which are refused at once, and what all will take.

    plan = make_plan(study)
    plan.points[0].job          None: the machine does not have what the point sets; `refused` says what

Names and values that mean nothing are errors here, before anything runs. What a model or a machine cannot do is a row of the table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from compiler.errors import ModelError
from compiler.measuring.shapes import SHAPES
from compiler.running.cache import content, parts, sources
from compiler.running.generate import is_program
from compiler.settings import Settings, read_text
from isa.changed import changed, figure_names, number
from isa.files import contents
from isa.hints import nearest
from isa.preset import Preset, PresetError, load_preset
from isa.shipped import DEMO as DEMO_MODEL
from isa.shipped import ROOT
from isa.text import counted
from slimulator.explore.axes import DEMO, FIGURE, HALF, MACHINE, Value, compiler_options, kind_of, setting, unknown
from slimulator.explore.errors import StudyError
from slimulator.explore.study import Study
from slimulator.version import VERSION

TOKENS, SCORE, PROMPT = 32, 1000, "Once upon a time"


@dataclass(frozen=True)
class Run:
    """What is done with a program: tokens to generate, and a text of which so many tokens are scored (None: none is).

    prompt_file  where the prompt is from
    depth   tokens of the prompt of a model with random weights
    halves  only the second half of each document is scored, as always by programs that leave out tokens of prompts
    """

    tokens: int = TOKENS
    prompt: str = PROMPT
    text: Path | None = None
    score: int = SCORE
    depth: int = 1
    halves: bool = False
    prompt_file: Path | None = None

    def key(self) -> list[Any]:
        """What a result depends on besides the program: the text by its contents."""
        text = None if self.text is None else hashlib.sha256(contents(self.text)).hexdigest()
        return [self.tokens, self.prompt, text, self.score if text else None, self.depth, self.halves]


@dataclass(frozen=True)
class Job:
    """One point's work. `model` is a checkpoint, or with `shape` None the file of a configuration; with a shape it is None."""

    settings: Settings
    run: Run
    model: Path | None = None
    shape: str | None = None
    config: Path | None = None

    @property
    def random(self) -> bool:
        """Whether the weights are random: then there is no tokenizer, and nothing to score."""
        return self.model is None


@dataclass(frozen=True)
class Point:
    """A point of a study, counted from 1. `said`: all its settings by name. `key`: equal for points that compile the same."""

    number: int
    said: dict[str, Value]
    job: Job | None
    key: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Plan:
    """All points of a study, in order."""

    study: Study
    points: list[Point]

    @property
    def compiles(self) -> dict[str, Job]:
        """What is compiled, by key: each once."""
        return {point.key: point.job for point in self.points if point.job}

    def lines(self, workers: int, known: int = 0) -> list[str]:
        """The plan in words. `known`: of the compilations, those that are already there."""
        refused = sum(point.job is None for point in self.points)
        jobs = list(self.compiles.values())
        runs = {(point.key, json.dumps(point.job.run.key())) for point in self.points if point.job}
        seconds = sum(_compile_seconds(job) for job in jobs[known:]) + sum(
            _run_seconds(self.compiles[key]) for key, _ in runs)
        varied = ", ".join(f"{name} ({len({point.said.get(name) for point in self.points})})" for name in self.study.varied)
        return [f"{counted(len(self.points), 'point', ',')}: {varied or 'nothing varies'}",
                f"  {len(jobs):,} programs to compile, {known:,} of them known; {len(runs):,} different runs; "
                f"{counted(refused, 'point', ',')} that a machine refuses",
                f"  about {_duration(seconds / workers)} with {workers} worker{'s' * (workers != 1)}, by sizes alone: a "
                "study measures the time that is left"]


def make_plan(study: Study, *, whole: bool = True) -> Plan:
    """The points of a study. Raises StudyError for what means nothing on any machine, OSError.

    whole    False: these are some points of a study, and others may use what these do not
    """
    for kept in (_setting, _machine, _content, _readable):          # files may have changed since the last plan
        kept.cache_clear()
    machines = _machines(study)
    figures = dict.fromkeys(name for preset in machines.values() for name in figure_names(preset))
    figures |= dict.fromkeys(name.replace(".memory", part) for name in study.names if name in figures and name.endswith(".memory")
                             for part in (".channels", ".speed"))           # of the memory that a region gets
    for name in study.names:
        if kind_of(name) == FIGURE and name not in figures:
            raise unknown(name, list(figures))
    points = [_point(place, said) for place, said in enumerate(study.settings(), 1)]
    if whole:
        _check_used(study, points)
    return Plan(study, points)


_NO_WORDS, _DEPTH = "for random weights, which have no tokenizer", "--depth N, the tokens of a prompt"
_NEEDS = {"score": ("without a text", "--text F, which is scored"),
          "scored": ("without a text", "--text F, which is scored"),
          "calibrate": ("and nothing reads it", "--ffn-sparsity with a number, or --prune wanda or flow"),
          "prompt": (_NO_WORDS, _DEPTH),
          "prompt-file": (_NO_WORDS, _DEPTH)}
"""What does nothing alone: why, and what it goes with."""

_CALIBRATE = ("calibrate", "not given", "a text: --ffn-sparsity with a number, --prune wanda and flow find what they leave out "
              "on it")
_UNCALIBRATED = str(StudyError(*_CALIBRATE))


def _check_used(study: Study, points: Sequence[Point]) -> None:
    """Raises StudyError for a setting that no point uses, and for points that need a text to calibrate on where none has one."""
    given = {name: any(value is not None for value in (*study.axes.get(name, ()), *(point.get(name) for point in study.points)))
             for name in _NEEDS}
    if not given["calibrate"] and any(point.refused == _UNCALIBRATED for point in points):
        raise StudyError(*_CALIBRATE)
    for name, (why, expected) in _NEEDS.items():
        if given[name] and all(point.said[name] is None for point in points):
            raise StudyError(name, f"given {why}", expected)


def _machines(study: Study) -> dict[str, Preset]:
    """The machines of a study by what names them."""
    values: Iterable[Value] = {*study.axes.get(MACHINE, ()), *(point.get(MACHINE) for point in study.points), None}
    names = {str(value or "slim") for value in values if value or MACHINE not in study.names}
    return {name: load_preset(name) for name in sorted(names or {"slim"})}


def _point(place: int, said: dict[str, Value]) -> Point:
    values: dict[str, Any] = {}
    for name in compiler_options():
        if said.get(name) is not None:
            values |= _setting(name, said[name])
    settings = Settings(**values)
    uncalibrated = settings.reads_text and settings.calibrate is None
    if not settings.reads_text:
        settings = replace(settings, calibrate=None)
    for name in ("calibrate", "adapter"):
        if path := getattr(settings, name):
            _there(path, name)
    job = _job(said, settings)
    figures = tuple((name, value) for name, value in said.items() if kind_of(name) == FIGURE and value is not None)
    whole: dict[str, Value] = {"model": None, **dict.fromkeys(compiler_options()), **said, **_of_run(job)}
    whole[MACHINE] = machine = str(settings.machine or "slim")
    if whole["model"] is None and job.model:
        whole["model"] = DEMO
    if settings.calibrate is None:
        whole["calibrate"] = None
    try:
        preset, digest = _machine(machine, figures)
        settings.check()
    except (PresetError, ModelError) as error:
        return Point(place, whole, None, refused=one_line(error))
    if uncalibrated:
        return Point(place, whole, None, refused=_UNCALIBRATED)
    return Point(place, whole, replace(job, settings=replace(settings, machine=preset)), _key(job, settings, digest))


_setting = lru_cache(maxsize=None, typed=True)(setting)         # 1 and 1.0 are not the same text


def _of_run(job: Job) -> dict[str, Value]:
    """What is run, as a row says it: what does not matter is None."""
    run = job.run
    scored, file = run.text is not None and not job.random, run.prompt_file if not job.random else None
    return {"tokens": run.tokens, "prompt": None if job.random or file else run.prompt, "prompt-file": str(file) if file else None,
            "text": str(run.text) if run.text else None, "score": run.score if scored else None,
            "scored": HALF if scored and run.halves else None, "depth": run.depth if job.random else None}


def _job(said: dict[str, Value], settings: Settings) -> Job:
    given = [name for name in ("model", "shape", "config") if said.get(name) is not None]
    if len(given) > 1:
        raise StudyError(given[1], f"given with {given[0]}", "one of model, shape and config")
    if said.get("depth") is not None and given not in (["shape"], ["config"]):
        raise StudyError("depth", "given for a model with a tokenizer", "a shape or a config; a model has its prompt")
    if said.get("prompt-file") and said.get("prompt"):
        raise StudyError("prompt-file", "given with prompt", "one of them")
    text, file = ((Path(str(said[name])) if said.get(name) else None) for name in ("text", "prompt-file"))
    prompt = _readable(file, "prompt-file") if file else str(said.get("prompt") or PROMPT)
    run = Run(int(said.get("tokens") or TOKENS), prompt, text, int(said.get("score") or SCORE), int(said.get("depth") or 1),
              said.get("scored") == HALF or settings.prune_tokens is not None, file)
    if text:
        _readable(text, "text")
    if given == ["shape"]:
        if said["shape"] not in SHAPES:
            raise StudyError("shape", f"got {said['shape']!r}", f"one of {', '.join(SHAPES)}", nearest(str(said["shape"]), SHAPES))
        return Job(settings, run, shape=str(said["shape"]))
    if given == ["config"]:
        return Job(settings, run, config=_there(Path(str(said["config"])), "config"))
    model = said.get("model")
    shipped = model is None or (model == DEMO and not Path(DEMO).exists())
    path = DEMO_MODEL if shipped else _there(Path(str(model)), "model")
    if is_program(path):
        raise StudyError("model", f"{path} is a program", "a checkpoint: a study compiles it")
    return Job(settings, run, model=path)


def _there(path: Path, name: str) -> Path:
    if not path.exists():
        raise StudyError(name, f"{path}: no such file")
    return path


@cache
def _readable(file: Path, name: str) -> str:
    """The text of a file. Raises StudyError for one that is none, OSError."""
    try:
        return read_text(_there(file, name))
    except ModelError as error:
        raise StudyError(name, f"{error.place}: {error.got}", error.expected, file=file) from None


@cache
def _machine(name: str, figures: tuple[tuple[str, Value], ...]) -> tuple[Preset, str]:
    """A machine with changed figures, and the hash of all that it says.

    Raises PresetError for what this one does not have or cannot be, StudyError for a value that no machine can have.
    """
    preset = load_preset(name)
    for figure, value in figures:
        old = _figure(preset, figure)
        if isinstance(old, int | float) and isinstance(number(value or 0), str):
            raise StudyError(figure, f"got {value!r}", "a number, such as 64K or 38.4")
    try:
        preset = changed(preset, {figure: value for figure, value in figures if value is not None})
    except PresetError as error:
        for problem in error.problems:
            if problem.alone:
                raise StudyError(problem.key.removeprefix("--set "), problem.got, problem.expected, problem.hint) from None
        raise
    return preset, _hash(preset.contents)


def _figure(preset: Preset, name: str) -> Any:
    """The value of a figure of the file; None for another name."""
    table: Any = preset.contents
    owner, _, rest = name.partition(".")
    for part in (owner, rest) if owner in ("energy", "power") else name.split("."):
        table = table.get(part) if isinstance(table, dict) else None
    return table.get("value") if isinstance(table, dict) else None


def _key(job: Job, settings: Settings, machine: str) -> str:
    files = [job.config] if job.config else [*parts(job.model)] if job.model else []
    files += parts(settings.adapter) if settings.adapter else []
    options = replace(settings, machine=None).key() | {"machine": machine, "shape": job.shape}
    return _hash([version(), sorted(options.items()), [_content(file) for file in files if file]])


@cache
def _content(file: Path) -> str:
    return content(file)


@cache
def version() -> str:
    """Version and hash of everything that a result depends on in this project: other sources are another version."""
    digest = hashlib.sha256(sources().encode())
    for path in (*sorted((ROOT / "emulator").rglob("*.py")), Path(__file__).with_name("work.py")):
        digest.update(path.read_bytes())
    return f"{VERSION}+{digest.hexdigest()[:12]}"


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:32]


def run_key(program: str, run: Run) -> str:
    """Equal for points whose results are the same: the hash of a program with its machine, and what is run."""
    return _hash([version(), program, run.key()])


def one_line(error: Exception) -> str:
    """The message of an error, its hint included, as the reason of a row."""
    return str(error).replace("error: ", "", 1).replace("\n", "; ")


# ------------------------------------------------------------------------------------------------ what it will take

_COMPILE = 0.5, 40e6            # seconds of a program, and bytes of a checkpoint that are compiled in a second
_RUN = 0.3, 300e6               # seconds of a run, and bytes of weights that tokens take in a second
"""Assumed, from runs of the demo model on one core of a shared Xeon: for a plan. A study measures its own."""

_BYTES = {"15m": 15e6, "125m": 46e6, "730m": 220e6, "3b": 909e6}


def size_of(job: Job) -> int:
    """Bytes of a checkpoint, or of the random weights of a shape."""
    if job.model:
        return sum(file.stat().st_size for file in parts(job.model))
    return int(_BYTES.get(job.shape or "", 1e9))


def _compile_seconds(job: Job) -> float:
    return _COMPILE[0] + size_of(job) / _COMPILE[1]


def _run_seconds(job: Job) -> float:
    tokens = job.run.tokens + job.run.depth + (job.run.score if job.run.text and job.model else 0)
    return _RUN[0] + tokens * size_of(job) / (10 * _RUN[1])


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
