"""Options of a configuration, read by name and type. None is skipped silently.

`check_rest` looks at the options that nobody has read. An option is harmless if it is in the table of harmless options, if its
value is null, false or empty, or if the table of allowed options accepts its value. Any other option is refused if its name says
that it may be a part of the computation, or if the name looks like a misspelt one. The rest is listed in one of the `notes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compiler.errors import ModelError, one_of
from isa.hints import nearest

T = TypeVar("T")


_COMPUTES = """
    activation alibi attention attn bias clamp clamping clip compression conv cross depth dim emb embedding embeddings expert
    experts factor ffn gate gating head heads hidden kv layer layers logit logits lora mixer mlp moe multiplier mup norm parallel
    position positional positions qk qkv quant quantization ratio residual rope rotary router scalar scale scaling shared skip
    sliding softcap softcapping sparse sparsity tie tied window
"""
COMPUTES = frozenset(_COMPUTES.split())
"""Words in names of options that are parts of a computation."""
HOW = frozenset(("checkpointing", "dropout", "drop", "dtype", "flash", "fused", "impl", "implementation", "initializer", "init",
                 "pdrop", "recompute", "sdpa", "xformers"))
"""Words in names of options that belong to training, or that say how something is computed, not what."""
FACTORS = frozenset(("multiplier", "scale", "scalar", "scaling", "factor", "ratio"))
"""Words in names of options that multiply something: 1 changes nothing."""


def words(name: str) -> frozenset[str]:
    """The words of an option's name: qk, layer and norm of "qk_layernorm"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("norm", "_norm_")
    return frozenset(re.findall(r"[a-z]+", spaced))


def neutral(name: str, value: Any) -> bool:
    """Whether a value switches its option off: null, false or empty; 1 for a factor, 0 for any other number."""
    if isinstance(value, bool) or value is None or isinstance(value, (str, list, dict)):
        return not value
    return bool(value == (1 if words(name) & FACTORS else 0))


@dataclass(frozen=True)
class Allowed:
    """What an option may be besides absent or null: `holds(value)`, and why anything else is refused."""

    holds: Callable[[Any], bool]
    expected: str
    hint: str = ""


class Options:
    """The options of a configuration file, or of an object in it. It remembers which of them were read."""

    def __init__(self, file: Path, values: dict[str, Any], place: str = "") -> None:
        self.file, self.values, self.place = file, values, place
        self.notes: list[str] = []              # what a user should know of how the file was read
        self._read: set[str] = set()

    def error(self, key: str, *, expected: str, got: str = "", hint: str = "") -> ModelError:
        """The error of an option: by default `got` is its value, or "missing"."""
        value = self.values.get(key)
        text = got or ("missing" if key not in self.values else repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "...")
        return ModelError(self.file, self.place + key, got=text, expected=expected, hint=hint)

    def _value(self, key: str, kind: type | tuple[type, ...], expected: str, default: Any, required: bool) -> Any:
        self._read.add(key)
        value = self.values.get(key)
        if value is None and (key in self.values or not required):
            value = default
        if value is None and not required:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, expected=expected)
        return value

    def size(self, key: str) -> int:
        """A positive whole number that must be there."""
        value: int = self._value(key, int, "a positive whole number", None, True)
        if value <= 0:
            raise self.error(key, expected="a positive whole number")
        return value

    def whole(self, key: str, default: int | None = None) -> int | None:
        """A whole number, or the default."""
        value: int | None = self._value(key, int, "a whole number", default, False)
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """A number; required without a default."""
        return float(self._value(key, (int, float), "a number", default, default is None))

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value: bool = self._value(key, bool, "true or false", default, False)
        return value

    def choice(self, key: str, table: dict[str, T], default: str | None = None) -> T:
        """The entry of `table` that the option names."""
        value = self._value(key, str, one_of(table), default, default is None)
        if value not in table:
            raise self.error(key, expected=one_of(table), got=repr(value), hint=nearest(value, table))
        return table[value]

    def tokens(self, key: str) -> frozenset[int]:
        """A token, a list of them, or none."""
        self._read.add(key)
        value = self.values.get(key)
        tokens = [] if value is None else value if isinstance(value, list) else [value]
        if not all(isinstance(token, int) and not isinstance(token, bool) for token in tokens):
            raise self.error(key, expected="a token or a list of tokens")
        return frozenset(tokens)

    def table(self, key: str) -> Options:
        """An object in this one; empty where there is none."""
        value = self._value(key, dict, "an object", {}, False)
        return Options(self.file, value, f"{self.place}{key}.")

    def check_rest(self, harmless: Iterable[str] = (), allowed: Mapping[str, Allowed] | None = None, *,
                   strict: bool = False) -> None:
        """Raise ModelError for the first option that was not read and may change the computation. `strict`: each of them may."""
        ignored: list[str] = []
        for key, value in self.values.items():
            if key in self._read or key in harmless or value is None:
                continue
            rule = (allowed or {}).get(key)
            if rule is not None:
                if not rule.holds(value):
                    raise self.error(key, expected=rule.expected, hint=rule.hint)
            elif not neutral(key, value):
                misspelt = nearest(key, self._read, cutoff=0.8)
                if strict or misspelt or (words(key) & COMPUTES and not words(key) & HOW):
                    raise self.error(key, got=f"unknown option, {value!r}"[:100], expected="options that Slimulator knows",
                                     hint=misspelt or "it may change what is computed; if it does not, remove it")
                ignored.append(key)
        if ignored:
            self.notes.append(f"ignored options: {', '.join(ignored)}")
