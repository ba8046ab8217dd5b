"""Models from Python: compile, generate, logits, verify. They do with objects what commands do with files, and print nothing.

    compiled = slimulator.compile("model", machine="slim-llama", weights="t2")
    result = slimulator.generate(compiled, "Once upon a time", max_tokens=50)
    print(result.text, result.cost.time.seconds, result.cost.energy.joules)

A model is the path of a checkpoint or of a program, what `compile` or `load_model` returned, or None: the demo model. Options are
those of the command line, named as the fields of compiler.settings.Settings (`machine`, `weights`, `sparse`, `context`, `kv`,
`chunk`, `sparsity`, `calibrate`, `prune` ...) and of compiler.running.generate.Sampling (`max_tokens`, `temperature`, `top_p`,
`seed`).

Errors: ModelError for a model or an option that cannot be honoured, ProgramError for a program, PresetError for a machine, OSError
for files, TypeError for an option that there is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from operator import index
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import numpy as np

from compiler.checking.evaluate import of_program
from compiler.checking.verify_chain import Check, Subject, checks, checks_of
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.frontends import need_tokenizer
from compiler.graph import Graph
from compiler.graph import graph_of as _graph_of
from compiler.model.model import Model
from compiler.model.tensors import F32
from compiler.model.tokenizer import Tokenizer
from compiler.running.alive import new_tokens
from compiler.running.generate import Generated, Generation, Sampling, find_program, is_program, open_program
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.cost import Cost, quantity
from isa.files import temporary_folder
from isa.hints import nearest
from isa.notebook import as_frame, as_html
from isa.preset import Preset, load_preset
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.shipped import DEMO
from isa.text import shortened

Source = Compiled | Model | Path | str | None
"""What is a model: see above."""
_ENGINES = ("fast", "reference")


# ------------------------------------------------------------------------------------------------ compiling


def load_model(path: Path | str | None = None, tokenizer: Path | str | None = None) -> Model:
    """A checkpoint, opened and checked; its weights stay in its files. None: the demo model. Raises ModelError."""
    return Settings().load(DEMO if path is None else Path(path), None if tokenizer is None else Path(tokenizer))


def float_graph(model: Source = None) -> Graph:
    """What a model computes for one token, as operations that may be changed: `compile(model, graph=...)` takes it.

    Its lists hold frozen operations: replace them. Raises ModelError.
    """
    return _graph_of(_checkpoint(model))


def compile(model: Source = None, *, graph: Graph | None = None, **options: Any) -> Compiled:
    """A model as a program for a machine: `save(path)` writes it, `summary()` says where everything lies, `text()` is assembly.

    graph    from `float_graph`, changed: the program computes this instead, and `verify` and `eval` hold it to this
    options  fields of Settings

    Raises ModelError, PresetError, OSError, TypeError.
    """
    settings = Settings(**_named(options, Settings)).check()
    if isinstance(model, Compiled):
        raise TypeError("the model is compiled already; compile its checkpoint")
    if graph is not None and not isinstance(graph, Graph):
        raise TypeError(f"the graph is {shortened(repr(graph), 60)}; expected what float_graph returned, changed")
    opened = _checkpoint(model, settings)
    return settings.compile(opened if graph is None else _with(opened, graph))


# ------------------------------------------------------------------------------------------------ running


@dataclass(frozen=True)
class Result:
    """A text, and what it took.

    generated  tokens, counters, phases, and seconds of this host; cost: time and energy of the machine, None where not modelled
    machine    as it stands at the end
    """

    generated: Generated
    cost: Cost
    machine: ReferenceMachine

    def __repr__(self) -> str:
        return f"Result({self.text!r}, {len(self.tokens)} tokens on {self.machine.preset.name})"

    @property
    def text(self) -> str:
        """The prompt and what was generated behind it."""
        return self.generated.text

    @property
    def tokens(self) -> list[int]:
        """Those that were generated."""
        return self.generated.tokens

    @property
    def figures(self) -> list[tuple[str, Any, str]]:
        """(what, value, unit): of the machine, then of this host."""
        time, energy, count = self.cost.time, self.cost.energy, len(self.tokens)
        found: list[tuple[str, Any, str]] = [("tokens", count, "tokens")]
        if time is not None:
            found += [("time", time.seconds, "s"), ("cycles", time.cycles, "cycles"),
                      ("tokens a second", time.tokens_per_second, "1/s")]
        if energy is not None:
            found += [("energy", energy.joules, "J"), ("energy a token", energy.joules / count if count else None, "J")]
        return [*found, ("this host", self.generated.seconds, "s")]

    def to_pandas(self) -> Any:
        """A DataFrame with a row a figure: `figure`, `value`, `unit`. Raises ImportError without pandas."""
        return as_frame(("figure", "value", "unit"), self.figures)

    def _repr_html_(self) -> str:
        rows = [(what, "not modelled" if value is None else value if isinstance(value, int) else quantity(value, unit))
                for what, value, unit in self.figures]
        return as_html(("", self.machine.preset.name), [("text", self.text), ("ended", self.generated.ended), *rows])


class Stream:
    """A text that comes piece by piece: iterate over it. While you look at a piece the machine stands still."""

    def __init__(self, generation: Generation) -> None:
        self.generation, self._pieces = generation, generation.stream()

    @property
    def machine(self) -> ReferenceMachine:
        """As it stands now."""
        return self.generation.machine

    @property
    def result(self) -> Result:
        """What it took. Raises ValueError while the text still comes."""
        if self.generation.generated is None:
            raise ValueError("the text still comes: take all of it first")
        return Result(self.generation.generated, Cost.of(self.machine), self.machine)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)


def generate(model: Source, prompt: str, *, stream: bool = False, engine: str = "fast", threads: int = 1,
             **options: Any) -> Result | Stream:
    """The text that a model goes on with behind a prompt, from a program on a machine.

    stream   True: return at once; the result is iterated over, and gives the text piece by piece, the prompt first
    engine   "fast", or "reference", which executes the manual's meanings one by one; threads: of this host, for the fast one
    options  fields of Sampling (max_tokens, temperature, top_p, seed) and, unless the model is compiled, of Settings

    Raises ModelError, ProgramError, PresetError, OSError, TypeError; KeyboardInterrupt for Ctrl-C.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"the prompt is {shortened(repr(prompt), 60)}; expected a text")
    sampling = Sampling(**_named({name: options.pop(name) for name in _fields(Sampling) & options.keys()}, Sampling)).check()
    with _program(model, options) as (program, tokenizer, preset):
        generation = Generation(program, tokenizer, prompt, sampling, _maker(engine, threads), preset)
    if stream:
        return Stream(generation)
    generated = generation.run(lambda _text: None)
    generated.result.unless_interrupted()
    return Result(generated, Cost.of(generation.machine), generation.machine)


def logits(model: Source, tokens: Sequence[int] | str, *, prompt: int = 1, engine: str = "fast", threads: int = 1,
           **options: Any) -> F32:
    """The logits behind each token of a text, as the program computes them on the machine, to the bit: fp32 (tokens, vocabulary).

    tokens   numbers, or a text, which begins as a prompt does. options: fields of Settings
    prompt   how many of the tokens are the prompt, of which `prune_tokens` leaves some out; the logits begin behind its last one

    Raises ModelError, also for more tokens than the context has; ProgramError, PresetError, OSError, TypeError.
    """
    with _program(model, options) as (program, tokenizer, preset):
        numbers = tokenizer.encode(tokens) if isinstance(tokens, str) else [index(token) for token in tokens]
        card = program.meta["model"]
        if card.get("sequences", 1) > 1:
            raise ModelError("", "sequences", got=str(card["sequences"]), expected="a program for one text")
        if not 0 < len(numbers) <= card["context"]:
            raise ModelError("", "tokens", got=str(len(numbers)), expected=f"1 to {card['context']}, the context")
        if wrong := [token for token in numbers if not 0 <= token < card["vocab"]]:
            raise ModelError("", "tokens", got=str(wrong[0]), expected=f"0 to {card['vocab'] - 1}, the vocabulary")
        if not 0 < index(prompt) <= len(numbers):
            raise ModelError("", "prompt", got=str(prompt), expected=f"1 to {len(numbers)}, the tokens")
        if (new := new_tokens(program)) is not None and len(numbers) - index(prompt) > new:
            raise ModelError("", "tokens", got=f"{len(numbers) - index(prompt)} behind the prompt",
                             expected=f"at most {new}: caches have room for no more (prune_tokens, +{new})")
        machine = _maker(engine, threads)(preset)
        machine.load(program)
    found: F32 = np.stack(list(of_program(machine, program)(numbers, prompt)))
    return found


# ------------------------------------------------------------------------------------------------ checking


class Verification(list[Check]):
    """The steps of the chain from the reference implementation to both engines. `ok`: none has failed."""

    @property
    def ok(self) -> bool:
        return all(check.verdict != "FAIL" for check in self)

    def to_pandas(self) -> Any:
        """A DataFrame with a row a step: `step`, `verdict`, `text`. Raises ImportError without pandas."""
        return as_frame(("step", "verdict", "text"), self._rows())

    def _repr_html_(self) -> str:
        return as_html(("step", "verdict", ""), self._rows())

    def _rows(self) -> list[tuple[str, str, str]]:
        return [(check.name, check.verdict, check.text) for check in self]


def verify(model: Compiled | Path | str | None = None, prompt: str = "", count: int | None = None, **options: Any) -> Verification:
    """Whether the program of a model computes what the model says.

    Float graph against transformers (where it is installed), quantised graph against that, every operation of the program against
    the graph bit by bit, fast engine against reference engine.

    model    a checkpoint or a program; of what `compile` returned the last two steps are done
    count    how many tokens; None: 16. options: fields of Settings

    Raises ModelError, ProgramError, PresetError, OSError, TypeError.
    """
    if isinstance(model, Compiled):
        if options:
            raise TypeError(f"{', '.join(options)}: the model is compiled already")
        return Verification(checks_of(model, prompt, count))
    settings = Settings(**_named(options, Settings))
    return Verification(checks(Subject(DEMO if model is None else Path(model), settings, prompt=prompt, count=count)))


# ------------------------------------------------------------------------------------------------ helpers


def _fields(kind: Any) -> set[str]:
    return {field.name for field in fields(kind)}


def _named(options: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Options as fields of a record, paths as Path. Raises TypeError for one that it has not, and for a value of another type."""
    for name in options:
        if name not in _fields(kind):
            hint = nearest(name, sorted(_fields(kind)))
            raise TypeError(f"no option {name!r}; options are {', '.join(sorted(_fields(kind)))}" + (f" ({hint})" if hint else ""))
    types = get_type_hints(kind)
    return {name: _typed(name, value, get_args(types[name]) or (types[name],)) for name, value in options.items()}


def _typed(name: str, value: Any, kinds: tuple[Any, ...]) -> Any:
    """A value as one of the types of an option: a path may be a text and the other way round, a whole number a float."""
    if isinstance(value, str | Path) and not isinstance(value, kinds):
        value = next((kind(value) for kind in kinds if kind in (str, Path)), value)
    if isinstance(value, int) and not isinstance(value, bool) and int not in kinds and float in kinds:
        value = float(value)
    if not isinstance(value, kinds) or isinstance(value, bool) > (bool in kinds):
        known = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
        raise TypeError(f"{name}={shortened(repr(value), 60)}; expected {known}")
    return value


def _checkpoint(model: Source, settings: Settings | None = None) -> Model:
    if isinstance(model, Compiled):
        return model.model
    if isinstance(model, Model):
        return model
    path = DEMO if model is None else Path(model)
    if is_program(path):
        raise ModelError(path, "", got="a compiled program", expected="a checkpoint")
    return (settings or Settings()).load(path)


def _with(model: Model, graph: Graph) -> Model:
    changed = replace(model, graph=graph)
    _graph_of(changed)                          # what is wrong with it is said now
    return changed


def _maker(engine: str, threads: int) -> Any:
    if engine not in _ENGINES:
        raise ValueError(f"engine is {engine!r}; expected fast or reference")
    if engine == "reference":
        if threads != 1:
            raise ValueError("the reference engine has one thread")
        return ReferenceMachine
    return partial(Machine, threads=threads)


@contextmanager
def _program(model: Source, options: dict[str, Any]) -> Iterator[tuple[Program, Tokenizer, Preset]]:
    """The program of a model, its tokenizer, the machine that it is for. Files of a program that was made now are there inside."""
    if isinstance(model, Model):
        model, options = compile(model, **options), {}
    if isinstance(model, Compiled):
        if _named(options, Settings):
            raise TypeError(f"{', '.join(options)}: the model is compiled already")
        need_tokenizer(model.model)
        with temporary_folder() as folder:
            model.save(folder / "model.elf")
            yield *open_program(folder / "model.elf", None, model.model.path), model.machine
        return
    settings = Settings(**_named(options, Settings))
    path = find_program(None if model is None else Path(model), settings)
    program, tokenizer = open_program(path, None, DEMO if model is None else Path(model))
    yield program, tokenizer, load_preset(settings.machine) if isinstance(settings.machine, str) else (
        settings.machine or program.machine)
