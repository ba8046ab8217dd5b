"""Options of a configuration, read by name and type; none is skipped silently.

An option is read, or stands in a table of those that do not change what a model computes, or has a value that makes it harmless:
null, false, empty, or what its row in a table of the allowed holds for. `check_rest` refuses everything else by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compiler.errors import ModelError, one_of
from isa.hints import nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Allowed:
    """What an option may be besides absent or null: `holds(value)`, and why anything else is refused."""

    holds: Callable[[Any], bool]
    expected: str
    hint: str = ""


class Options:
    """The options of a configuration file, or of an object in it. Those that were asked for are remembered."""

    def __init__(self, file: Path, values: dict[str, Any], place: str = "") -> None:
        self.file, self.values, self.place = file, values, place
        self._read: set[str] = set()

    def error(self, key: str, *, expected: str, got: str = "", hint: str = "") -> ModelError:
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
        value: int | None = self._value(key, int, "a whole number", default, False)
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """A number; required without a default."""
        return float(self._value(key, (int, float), "a number", default, default is None))

    def flag(self, key: str, default: bool) -> bool:
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

    def check_rest(self, harmless: Iterable[str] = (), allowed: Mapping[str, Allowed] | None = None) -> None:
        """Raise ModelError for the first option that was not read and may not be ignored."""
        for key, value in self.values.items():
            if key in self._read or key in harmless or value is None:
                continue
            rule = (allowed or {}).get(key)
            if rule is None and (value is False or value in ([], {}, "")):
                continue
            if rule is None:
                raise self.error(key, got=f"unknown option, {value!r}"[:100], expected="options that this program knows",
                                 hint=nearest(key, self._read) or "it may change what is computed; if it does not, remove it")
            if not rule.holds(value):
                raise self.error(key, expected=rule.expected, hint=rule.hint)
