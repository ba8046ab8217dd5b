"""Generation: a compiled program on a machine, from a prompt to text as it comes, and what it took.

    program, tokenizer = open_program(path)
    generation = Generation(program, tokenizer, "Once upon a time", Sampling(max_tokens=100), Machine)
    report = generation.run(print)

The program holds the whole token loop. The host fills its parameter block, gives it the prompt and takes tokens. A program for
several sequences takes several prompts, and computes their texts side by side.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.compiled import CARD_SCHEMA
from compiler.errors import ModelError
from compiler.frontends import load_tokenizer, need_tokenizer
from compiler.lowering.batch import RECORD_BYTES
from compiler.model.carried_tokenizer import unpacked
from compiler.model.model import Model
from compiler.model.tokenizer import Tokenizer
from compiler.running import cache
from compiler.running.alive import Alive, new_tokens, tokens_alive
from compiler.running.moved import Moved, moved
from compiler.running.neurons import Neurons, neurons
from compiler.running.parameters import set_parameters, set_sequences, side_by_side
from compiler.settings import Settings
from emulator.observe.breakdown import PREFILL, Part
from emulator.observe.phases import Phases, as_json
from isa.counters import COUNTERS
from isa.preset import Preset
from isa.program import Program, ProgramError
from isa.reference import ReferenceMachine, RunResult
from isa.services import Host
from isa.shipped import DEMO
from isa.text import counted

MOST_TOKENS = 256                       # unless a number is asked for
TEMPERATURES = 0.001, 1000.0            # beyond these logits divided by it may overflow fp32
_A_TOKEN = "a token has come"           # why a streaming run stops
Maker = Callable[[Preset, Host], ReferenceMachine]
"""What makes a machine: the class of an engine, or a function that gives it threads too."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. `temperature` 0: always the most likely one. `top_p`: among the most likely ones whose probabilities
    add up to this."""

    max_tokens: int | None = None       # None: MOST_TOKENS, or as many as the context has room for
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 1
    sparsity: float | None = None       # of a program with thresholds: the share of neurons to leave alone; None: as compiled

    def check(self) -> Sampling:
        """These settings. Raises ModelError for values that no program takes."""
        low, high = TEMPERATURES
        wrong: list[tuple[str, object, str]] = []
        if self.max_tokens is not None and self.max_tokens < 1:
            wrong.append(("-n", self.max_tokens, "1 or more tokens"))
        if self.temperature != 0 and not low <= self.temperature <= high:
            wrong.append(("--temperature", self.temperature, f"0 (always the most likely token), or {low} to {high:g}"))
        if not 0 < self.top_p <= 1:
            wrong.append(("--top-p", self.top_p, "above 0, at most 1 (all tokens)"))
        if not 0 <= self.seed < 1 << 64:
            wrong.append(("--seed", self.seed, "0 to 2**64 - 1"))
        for place, got, expected in wrong[:1]:
            raise ModelError("", place, got=str(got), expected=expected)
        return self


@dataclass(frozen=True)
class Text:
    """A prompt and what was generated behind it."""

    prompt: list[int]
    tokens: list[int]
    text: str                           # the prompt's too
    ended: str                          # in words
    alive: Alive | None = None          # None: no token of the prompt is left out

    def as_json(self) -> dict[str, Any]:
        return {"ended": self.ended, "prompt": self.prompt, "tokens": self.tokens, "text": self.text,
                "tokens_alive": self.alive.as_json() if self.alive else None}


@dataclass(frozen=True)
class Generated:
    """What a generation took. Seconds are the host's, from the first instruction to the last."""

    result: RunResult
    texts: list[Text]                   # one, or of a batch each
    batch: bool
    positions: int                      # that were computed: not the one behind the last token, if the limit ended the text
    seconds: float
    first: float                        # seconds to the first token; nan where none came
    counters: dict[str, int]
    phases: dict[str, Part]             # what the machine did in prefill and decode
    preset: Preset                      # of the machine
    timed: bool                         # whether it kept a clock
    weights: str                        # the formats that matrices are stored in
    neurons: Neurons | None = None      # None: all are at work
    moved: Moved | None = None          # None: keys and values are read where they lie

    @property
    def prompt(self) -> list[int]:
        """Of the only text, or the first one, as `tokens`, `text` and `ended`."""
        return self.texts[0].prompt

    @property
    def tokens(self) -> list[int]:
        return self.texts[0].tokens

    @property
    def text(self) -> str:
        return self.texts[0].text

    @property
    def ended(self) -> str:
        return self.texts[0].ended

    @property
    def alive(self) -> Alive | None:
        return self.texts[0].alive

    @property
    def count(self) -> int:
        """Tokens that were generated, of all texts."""
        return sum(len(text.tokens) for text in self.texts)

    @property
    def tokens_per_second(self) -> float:
        """The rate of the tokens behind the first one; the prompt is not counted. nan for fewer than two tokens."""
        passed = self.seconds - self.first
        return (self.count - 1) / passed if self.count > 1 and passed > 0 else math.nan

    def as_json(self) -> dict[str, Any]:
        def number(value: float) -> float | None:
            return None if math.isnan(value) else value

        texts = {"sequences": [text.as_json() for text in self.texts]} if self.batch else self.texts[0].as_json()
        return {"reason": self.result.reason, "exit_code": self.result.exit_code, "tokens_alive": None, **texts,
                "seconds": self.seconds, "seconds_to_first_token": number(self.first),
                "tokens_per_second": number(self.tokens_per_second), "instructions": self.result.instructions,
                "weights": self.weights,
                "neurons": self.neurons.as_json() if self.neurons else None,
                "kv_moved": self.moved.as_json() if self.moved else None, "counters": self.counters,
                "phases": {name: self._phase(name, part) for name, part in self.phases.items()}}

    def _phase(self, name: str, part: Part) -> dict[str, Any]:
        """A phase as JSON has it. The rate of the prefill is that of the prompt's tokens, the rate of decode that of new ones."""
        read, emitted = (int(part.counts[COUNTERS[counter].slot]) for counter in ("tokens.read", "tokens.emitted"))
        first = self.seconds if math.isnan(self.first) else self.first          # without a token all of the run is prefill
        seconds = first if name == PREFILL else self.seconds - first
        counted = read if name == PREFILL else emitted
        return {"positions": read if name == PREFILL else self.positions - self.counters["tokens.read"], "tokens": emitted,
                "seconds": seconds, "tokens_per_second": counted / seconds if counted and seconds > 0 else None,
                **as_json(part, self.preset, counted, self.timed)}


# ------------------------------------------------------------------------------------------------ programs


def find_program(model: Path | None, settings: Settings = Settings(), *, tokenizer: Path | None = None,         # noqa: B008
                 progress: Callable[[int, int], None] | None = None, opened: Callable[[Model], None] | None = None,
                 waiting: Callable[[], None] = lambda: None) -> Path:
    """The program file of a model: the file itself if it is a program, else one that is compiled now or was kept from before.

    None is the demo model. The checkpoint needs a tokenizer, because the program carries it. `opened` is called with a checkpoint
    that is compiled now; `waiting` is called if another process compiles the same and this one waits for it.
    Raises ModelError, ProgramError, PresetError, CacheError, OSError.
    """
    if model is None:
        model = DEMO
        if not model.exists():
            raise ModelError(model, "", got="the demo model is not there",
                             expected="a directory with config.json and model.safetensors",
                             hint="name a model: slimulator generate MODEL \"prompt\"")
    if is_program(model):
        running = ["--ffn-sparsity"] * (isinstance(settings.sparsity, float) and settings.calibrate is None)
        for option in [option for option in settings.given if option not in running][:1]:
            raise ModelError(model, option, got="a compiled program",
                             expected="a checkpoint: this option is for the compiler")
        return model
    checkpoint = settings.load(model, tokenizer)    # before the hash of all files, which takes long: errors come at once
    words, key = need_tokenizer(checkpoint), settings.check().key()
    source = Path(f"{model.stem if model.is_file() else model.resolve().name}.s")       # what `slimulator compile MODEL -S` writes

    def write(path: Path) -> None:
        if opened:
            opened(checkpoint)
        checkpoint.check_weights()
        settings.compile(checkpoint, progress).save(path, progress, source)

    adapter = cache.parts(settings.adapter) if settings.adapter else []
    return cache.cached([*cache.parts(model), *adapter, words.file], key, write, waiting)


def is_program(path: Path) -> bool:
    """Whether a file begins as ELF does."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def open_program(path: Path, tokenizer: Path | None = None, model: Path | None = None,
                 notes: list[str] | None = None) -> tuple[Program, Tokenizer]:
    """A program of a model, and the tokenizer: a file, or the one that the program carries. Raises ModelError, ProgramError.

    model   where the tokenizer is said to be from, by default the program
    notes   gets what was assumed of a tokenizer's file
    """
    program = Program.load(path)
    if "model" not in program.meta or program.symbol("parameters") is None:
        raise ProgramError("it generates no tokens: it was not compiled from a model", path=str(path),
                           hint="`slimulator run` executes any program")
    check_card(program, path)
    if tokenizer is not None:
        vocab = program.meta["model"]["vocab"]
        loaded = load_tokenizer(tokenizer, vocab, notes)
        if loaded.size > vocab:
            raise ModelError(tokenizer, "tokenizer", got=f"{loaded.size} pieces", expected=f"the model's vocabulary of {vocab}",
                             hint="this tokenizer belongs to another model")
        return program, loaded
    if "tokenizer" not in program.meta:
        raise ModelError(path, "tokenizer", got="none", expected="a tokenizer in the program, or beside the checkpoint",
                         hint="name one: --tokenizer FILE")
    return program, unpacked(program.meta["tokenizer"], model or path)


def check_card(program: Program, path: Path) -> None:
    """Raise ProgramError unless a program's model card holds what a run looks up there."""
    def whole(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value > 0

    if (schema := program.meta.get("schema", CARD_SCHEMA)) != CARD_SCHEMA:
        raise ProgramError(f"its model card has schema {schema!r}, this Slimulator reads {CARD_SCHEMA}"[:200], path=str(path),
                           hint="compile the model again")
    card = program.meta["model"] if isinstance(program.meta["model"], dict) else {}
    wrong = [key for key in ("vocab", "context", "hidden", *(["sequences"] if "sequences" in card else []))
             if not whole(card.get(key))]
    several = program.symbol("sequences") is not None
    room = (program.address("sequence") - program.address("sequences")) // RECORD_BYTES if several else 1
    wrong += ["sequences"] * (not wrong and card.get("sequences", 1) != room)
    wrong += ["weights"] * (not isinstance(card.get("weights", ""), str))
    wrong += [key for key in ("missing", "operations") if not isinstance(card.get(key, {}), dict)]
    if program.symbol("neuron_counts") is not None:
        sizes = card.get("neuron_bytes")
        wrong += ["neuron_bytes"] * (not isinstance(sizes, list) or not all(map(whole, sizes)))
    if program.symbol("left_out0") is not None or "cuts" in card:
        cuts = card.get("cuts", {})
        lists = [cuts.get(name) for name in ("layers", "budgets", "kv_bytes")] if isinstance(cuts, dict) else [None]
        wrong += ["cuts"] * (not all(isinstance(each, list) and each and all(map(whole, each)) for each in lists)
                             or not whole(cuts.get("new_tokens", 1)))
    if "kv_near" in card:
        near = card["kv_near"] if isinstance(card["kv_near"], dict) else {}
        turns = near.get("turns")
        wrong += ["kv_near"] * (not all(map(whole, (near.get("position_bytes"), card.get("chunk"), card.get("layers"))))
                                or not isinstance(near.get("stays"), int) or not isinstance(turns, list)
                                or not all(isinstance(each, int) and each in range(card["layers"]) for each in turns))
    for key in wrong[:1]:
        raise ProgramError(f"its model card is damaged: {key} is {card.get(key)!r}"[:200], path=str(path),
                           hint="compile the model again")


# ------------------------------------------------------------------------------------------------ a run


class _Sequence:
    """One text while it comes: its prompt, the tokens and the text so far."""

    def __init__(self, tokenizer: Tokenizer, prompt: list[int], limit: int) -> None:
        self.prompt, self.limit, self.tokens = prompt, limit, list[int]()
        self._stream, self._parts = tokenizer.stream(), list[str]()

    def push(self, token: int) -> str:
        """The text that a token adds."""
        return self._add(self._stream.push(token))

    def end(self) -> str:
        """What the last tokens still add."""
        return self._add(self._stream.end())

    def _add(self, text: str) -> str:
        self._parts.append(text)
        return text

    @property
    def text(self) -> str:
        return "".join(self._parts)


class Generation:
    """A prompt on a machine, or several at once. `machine` may be inspected at any time."""

    def __init__(self, program: Program, tokenizer: Tokenizer, prompts: str | Sequence[str], sampling: Sampling, make: Maker,
                 preset: Preset) -> None:
        """Raises ModelError for a prompt that the model cannot take, ProgramError for a machine that the program does not fit.

        prompts   one, or for a program for several sequences up to as many
        """
        self.program, self.batch = program, not isinstance(prompts, str)
        card = program.meta["model"]
        several, self._context = card.get("sequences", 1), int(card["context"])
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not 1 <= len(prompts) <= several or (self.batch and several == 1):
            raise ModelError("", "--batch", got=counted(len(prompts), "prompt"), expected=f"at most {several}: the program was "
                             f"compiled for {counted(several, 'sequence')}", hint="compile the model with --sequences N")
        asked = sampling.check().max_tokens
        if sampling.temperature and sampling.top_p < 1 and (why := card.get("missing", {}).get("--top-p")):
            raise ModelError("", "--top-p", got=str(sampling.top_p), expected="1, or --temperature 0", hint=str(why))
        self._sequences = [self._sequence(tokenizer, prompt, asked, number) for number, prompt in enumerate(prompts, 1)]
        self.prompts = [each.prompt for each in self._sequences]
        self._limited_by = "limit set by -n" if asked is not None else "default limit; -n sets another"
        given = self.prompts[0] if several == 1 else side_by_side(self.prompts)
        self.machine = make(preset, Host(given, emit=self._emit))
        self.machine.load(program)
        self._phases = Phases(self.machine)
        set_parameters(self.machine, temperature=sampling.temperature, top_p=sampling.top_p, seed=sampling.seed,
                       max_tokens=max(self.limits), sparsity=sampling.sparsity)
        if several > 1:
            set_sequences(self.machine, self.limits, sampling.seed)
        self._show: Callable[[str], None] = lambda _text: None
        self._first = math.nan
        self._started = self._seconds = 0.0
        self.generated: Generated | None = None             # what a stream took, when it has ended

    @property
    def limits(self) -> list[int]:
        """How many tokens of each text may come."""
        return [each.limit for each in self._sequences]

    def _sequence(self, tokenizer: Tokenizer, prompt: str, asked: int | None, number: int) -> _Sequence:
        try:
            tokens = encode(tokenizer, prompt, self._context)
            room = self._context - len(tokens) + 1
            why = f"the prompt fills {len(tokens)} of {self._context} positions"
            if (new := new_tokens(self.program)) is not None and new < room - 1:
                room, why = new + 1, f"behind a prompt caches have room for {new} tokens (--prune-tokens ...+{new})"
            if asked is not None and asked > room:
                raise ModelError("", "-n", got=f"{asked} tokens", expected=f"at most {room}: {why}")
        except ModelError as error:
            if self.batch:
                error.place = f"{error.place}, line {number} of the batch"
            raise
        return _Sequence(tokenizer, tokens, min(MOST_TOKENS, room) if asked is None else asked)

    def run(self, show: Callable[[str], None], told: Callable[[int], None] = lambda _tokens: None) -> Generated:
        """Run to the end, or to Ctrl-C. `show` gets the text, prompt included, piece by piece; of a batch nothing: `told` gets how
        many tokens there are so far."""
        self._begin(show, told)
        return self._end(self._go())

    def stream(self) -> Iterator[str]:
        """The text, prompt included, piece by piece as it comes. At the end `generated` says what it took.

        While the caller looks at a piece the machine stands still; that time is not counted. Raises ValueError for a batch.
        """
        if self.batch:
            raise ValueError("a batch has several texts: run() it")
        pieces: list[str] = []
        self._begin(pieces.append, lambda _tokens: self.machine.stop(_A_TOKEN))
        result = None
        while result is None or result.reason == _A_TOKEN:
            yield from pieces
            pieces.clear()
            result = self._go()
        self.machine.withdraw(_A_TOKEN)
        self.generated = self._end(result)
        yield from pieces

    def _begin(self, show: Callable[[str], None], told: Callable[[int], None]) -> None:
        self._show, self._told, self._count = (lambda _text: None) if self.batch else show, told, 0
        for sequence in self._sequences:
            for token in sequence.prompt:
                self._text(sequence.push(token))

    def _go(self) -> RunResult:
        """Run until something ends it."""
        self._started = time.perf_counter()
        result = self.machine.run()
        self._seconds += time.perf_counter() - self._started
        return result

    def _end(self, result: RunResult) -> Generated:
        for sequence in self._sequences:
            self._text(sequence.end())
        counters = dict(self.machine.counters)
        computed = sum(len(each.tokens) - (len(each.tokens) == each.limit) for each in self._sequences)
        alive = [tokens_alive(self.machine, self.program, number) for number in range(len(self._sequences))]
        texts = [Text(each.prompt, each.tokens, each.text, self._ended(result, each), left)
                 for each, left in zip(self._sequences, alive, strict=True)]
        return Generated(result, texts, self.batch, counters["tokens.read"] + computed, self._seconds, self._first, counters,
                         self._phases.parts(), self.machine.preset, bool(self.machine.clocks),
                         self.program.meta["model"].get("weights", "unknown (compiled by an older version)"),
                         neurons(self.machine, self.program),
                         moved(self.program, counters["tokens.read"], computed, alive[0].layers if alive[0] else None))

    def _emit(self, token: int) -> None:
        if math.isnan(self._first):
            self._first = self._seconds + time.perf_counter() - self._started
        self._phases.emitted()
        number = self.machine.host.sequence
        if number >= len(self._sequences):
            raise ProgramError(f"it emits a token of sequence {number}, and was given {counted(len(self._sequences), 'prompt')}",
                               path=self.program.path or "")
        sequence = self._sequences[number]
        sequence.tokens.append(token)
        self._text(sequence.push(token))
        self._count += 1
        self._told(self._count)

    def _text(self, text: str) -> None:
        if text:
            self._show(text)

    def _ended(self, result: RunResult, sequence: _Sequence) -> str:
        tokens = len(sequence.tokens)
        if result.reason != "exit":
            return str(result.trap) if result.trap else result.reason
        if result.exit_code:
            return bytes(self.machine.host.errors).decode("utf-8", "replace").strip() or f"exit code {result.exit_code}"
        if tokens == sequence.limit:
            full, new = tokens + len(sequence.prompt) > self._context, new_tokens(self.program)
            why = (f"the context of {self._context} is full" if full else
                   self._limited_by if new is None or tokens <= new else f"behind a prompt caches have room for {new} tokens")
            return f"stopped after {tokens} token{'s' * (tokens != 1)} ({why})"
        return "the model ended the text"


def encode(tokenizer: Tokenizer, prompt: str, context: int) -> list[int]:
    """The tokens of a prompt, as those of the beginning of a text. Raises ModelError if it is empty or longer than the context."""
    tokens = tokenizer.encode(prompt)
    if not tokens:
        raise ModelError("", "prompt", got="empty", expected="some text: this model has no BOS token to start from")
    if len(tokens) > context:
        raise ModelError("", "prompt", got=f"{len(tokens)} tokens", expected=f"at most {context} (the context)",
                         hint="shorten it, or compile with a larger --context")
    return tokens
