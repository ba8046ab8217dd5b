"""Macros: their parameters, the arguments of a call, and filling them into the body."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from asm.diagnostics import SourceError, nearest, plural
from asm.source import Body, Site

BODIES = {".macro": ".endm", ".rept": ".endr", ".irp": ".endr", ".irpc": ".endr"}      # what starts a body -> what ends it
ENDS = {".endm": ".endm", ".endmacro": ".endm", ".endr": ".endr"}

_NAME = re.compile(r"[A-Za-z_.$][\w.$]*")
_PARAMETER = re.compile(r"[A-Za-z_$][\w$]*")
_REFERENCE = re.compile(r"\\(?:(\(\))|(@)|([A-Za-z_$][\w$]*))")
# The parts of a call's operands: strings, characters, separators, white space around an operator, anything else. An open string
# reaches to the end.
_PART = re.compile(r'(?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*+"?)|(?P<character>' r"'(?:\\.|[^\\])'?)|(?P<comma>\s*+,\s*+)"
                   r"|(?P<operator>\s*+(?:[-+*/&|^<>]|==|!=)\s*+)|(?P<space>\s++)|(?P<other>[\w.$@\\]++|.)", re.S)


@dataclass(eq=False)
class Parameter:
    """`default` None: without an argument the parameter is empty. `rest`: takes all further arguments (:vararg)."""

    name: str
    default: str | None = None
    required: bool = False
    rest: bool = False


@dataclass(eq=False)
class Macro:
    """A macro definition, which stands at `site`."""

    name: str
    parameters: list[Parameter]
    site: Site = field(init=False)
    body: Body = field(init=False)


def parse_header(text: str) -> Macro:
    """The name and parameters after .macro: "name a, b=1, c:req, d:vararg". Raises SourceError."""
    name = _NAME.match(text)
    if name is None:
        raise SourceError("a macro needs a name", 0, len(text))
    parameters: dict[str, Parameter] = {}
    rest = text[name.end():].lstrip(" ,")
    for item, at in split_arguments(rest, len(text) - len(rest)):
        head, equals, default = item.partition("=")
        word, _, qualifier = head.partition(":")
        if not _PARAMETER.fullmatch(word):
            raise SourceError(f"`{item}` is not a parameter: name, name=default, name:req or name:vararg", at, at + len(item))
        if qualifier not in ("", "req", "vararg"):
            raise SourceError(f"unknown qualifier :{qualifier}: known are :req and :vararg", at, at + len(item))
        if word in parameters:
            raise SourceError(f"parameter `{word}` appears twice", at, at + len(item))
        parameters[word] = Parameter(word, unquoted(default) if equals else None, qualifier == "req", qualifier == "vararg")
    return Macro(name[0], [*parameters.values()])


def split_arguments(text: str, column: int = 0) -> Iterator[tuple[str, int]]:
    """Arguments with their columns; the text begins at `column`.

    They are separated by commas, or by white space that is not next to an operator.
    """
    current, start, depth, comma = "", 0, 0, True
    for part in _PART.finditer(text):
        if part["comma"] is not None and depth == 0:
            if current or comma:
                yield current, column + start
            current, comma = "", True
        elif part["space"] is not None and depth == 0 and current:
            if part.end() < len(text):
                yield current, column + start
                current, comma = "", False
        elif part["space"] is None or depth:
            if not current:
                start = part.start()
            depth += {"(": 1, ")": -1}.get(part[0], 0)
            current += part[0]
    if current.strip() or (comma and text.strip()):
        yield current.strip(), column + start


def unquoted(text: str) -> str:
    """A macro argument in quotes is what is between them."""
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text


def arguments_of(macro: Macro, text: str) -> dict[str, str]:
    """The value of every parameter in a call. Raises SourceError for arguments that do not fit."""
    values: dict[str, str] = {}
    names = [parameter.name for parameter in macro.parameters]
    known = set(names)
    position = 0
    given = list(split_arguments(text))
    for item, at in given:
        keyword, equals, value = item.partition("=")
        if equals and keyword.strip() in known and not value.startswith("="):
            values[keyword.strip()] = unquoted(value.strip())
            continue
        if position >= len(names):
            takes = plural(len(names), "argument")
            raise SourceError(f"macro `{macro.name}` takes {takes}, {len(given)} given", at, at + len(item),
                              hint=nearest(keyword.strip(), names) if equals else "")
        if macro.parameters[position].rest:
            values[names[position]] = text[at:].strip()
            break
        if item:
            values[names[position]] = unquoted(item)
        position += 1
    for parameter in macro.parameters:
        if parameter.name not in values:
            if parameter.required:
                raise SourceError(f"macro `{macro.name}` needs an argument for `{parameter.name}`")
            values[parameter.name] = parameter.default or ""
    return values


def fill_in(line: str, values: Mapping[str, str], expansion: int) -> str:
    """A body line with \\name, \\@ (number of this expansion) and \\() (nothing) replaced."""
    if "\\" not in line:
        return line

    def replacement(match: re.Match[str]) -> str:
        nothing, number, name = match.groups()
        if nothing:
            return ""
        if number:
            return str(expansion)
        return values.get(name, match[0])

    return _REFERENCE.sub(replacement, line)
