"""Parsing: from the text of a statement's operands to nodes, by the Lark grammar; and what to say when it does not parse.

Equal texts are parsed once. Columns in the nodes count from the start of the operands.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from asm.diagnostics import SourceError
from asm.expressions import BINARY, MOST_BITS, Binary, Constant, Function, Group, Name, Node, Unary


@dataclass(eq=False, slots=True)
class Memory:
    """An operand "offset(base)"."""

    offset: Node
    base: Node
    start: int
    end: int


@dataclass(eq=False, slots=True)
class String:
    """A string operand, escapes resolved."""

    value: bytes
    start: int
    end: int

    def path(self) -> str:
        """The string as the name of a file, which may be no UTF-8."""
        return os.fsdecode(self.value)

    def text(self) -> str:
        """The string as text: a name, a message. Raises SourceError when its bytes are not UTF-8."""
        try:
            return self.value.decode()
        except UnicodeDecodeError:
            raise SourceError("this string is not UTF-8 text", self.start, self.end) from None


@dataclass(eq=False, slots=True)
class Type:
    """A word after @ or %: @function, @progbits."""

    text: str
    start: int
    end: int


ParsedOperand = Node | Memory | String | Type

REMEMBERED = 1 << 17        # texts whose operands are kept for equal ones

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\\": "\\", '"': '"', "'": "'",
            "a": "\a", "v": "\v", "e": "\x1b"}
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]+)|(.))", re.S)

# The names of tokens in messages.
_TOKENS = {"NAME": "a name", "LOCAL_LABEL": "a label", "FLOAT": "a number", "NUMBER": "a number", "CHARACTER": "a character",
           "STRING": "a string", "TYPE": "a type", "FUNCTION": "%hi(...) or the like", "OPERATOR": "an operator",
           "SIGN": "a sign", "PREFIX": "~ or !", "LPAR": "(", "RPAR": ")", "COMMA": "a comma", "$END": "the end of the line"}
_VALUES = {"NAME", "LOCAL_LABEL", "FLOAT", "NUMBER", "CHARACTER", "STRING", "TYPE", "FUNCTION", "LPAR"}


def unescape(text: str, start: int) -> bytes:
    """The bytes of a string's or character's inside. `start` is its column, for errors."""
    if "\\" not in text:
        return text.encode()
    out, at = bytearray(), 0
    for match in _ESCAPE.finditer(text):
        out += text[at:match.start()].encode()
        octal, hexadecimal, letter = match.groups()
        if octal:
            out.append(int(octal, 8) & 0xFF)
        elif hexadecimal:
            out.append(int(hexadecimal, 16) & 0xFF)
        elif letter in _ESCAPES:
            out += _ESCAPES[letter].encode()
        else:
            known = " ".join("\\" + escape for escape in _ESCAPES)
            raise SourceError(f"unknown escape \\{letter}: known are {known} \\ooo \\xhh",
                              start + match.start(), start + match.end())
        at = match.end()
    return bytes(out) + text[at:].encode()


@v_args(inline=True)
class Build(Transformer[Token, Any]):
    """Grammar rules to nodes, while parsing. `tightness`: of two operators the one with the higher number binds first."""

    tightness: ClassVar[dict[str, float]] = {sign: level for sign, (level, _) in BINARY.items()}

    def start(self, *operands: ParsedOperand | None) -> tuple[ParsedOperand, ...]:
        return tuple(operand for operand in operands if operand is not None)

    def name(self, token: Token) -> Node:
        return Name(str(token), token.start_pos or 0, token.end_pos or 0)

    def linked_name(self, token: Token, suffix: Token) -> Node:
        """`f@plt`: there are no tables of a dynamic linker, so it is `f`."""
        if suffix != "@plt":
            raise SourceError(f"unexpected `{suffix}`: only @plt can follow a name", suffix.start_pos, suffix.end_pos)
        return self.name(token)

    def number(self, token: Token) -> Node:
        start, end = token.start_pos or 0, token.end_pos or 0
        if len(token) > MOST_BITS:
            raise SourceError(f"a number of {len(token)} digits: the limit is {MOST_BITS} bits", start, end)
        try:
            value = int(token, 0) if token[0] != "0" or token[1:2] in "xXbB" else int(token, 8)
        except ValueError:
            raise SourceError(f"{token} is not an octal number: a leading 0 means base 8", start, end) from None
        return Constant(value, str(token), start, end)

    def float(self, token: Token) -> Node:
        return Constant(float(token), str(token), token.start_pos or 0, token.end_pos or 0)

    def character(self, token: Token) -> Node:
        start, end = token.start_pos or 0, token.end_pos or 0
        data = unescape(token[1:-1] if len(token) > 2 and token.endswith("'") else token[1:], start + 1)
        if len(data) != 1:
            raise SourceError(f"{token} is {len(data)} bytes in UTF-8: a character constant is one byte", start, end)
        return Constant(data[0], str(token), start, end)

    def group(self, left: Token, inner: Node, right: Token) -> Node:
        return Group(inner, left.start_pos or 0, right.end_pos or 0)

    def function(self, token: Token, _left: Token, inner: Node, right: Token) -> Node:
        return Function(str(token[1:]), inner, token.start_pos or 0, right.end_pos or 0)

    def unary(self, token: Token, operand: Node) -> Node:
        return Unary(str(token), operand, token.start_pos or 0, _end(operand))

    def chain(self, *parts: Any) -> Node:
        """Precedence climbing over "term operator term ..."."""
        values: list[Node] = [parts[0]]
        operators: list[str] = []
        for operator, term in zip(parts[1::2], parts[2::2], strict=True):
            while operators and self.tightness[operators[-1]] >= self.tightness[operator]:
                _reduce(values, operators)
            values.append(term)
            operators.append(operator)
        while operators:
            _reduce(values, operators)
        return values[0]

    def memory(self, offset: Node, _left: Token, base: Node, right: Token) -> Memory:
        return Memory(offset, base, _start(offset), right.end_pos or 0)

    def string(self, *tokens: Token) -> String:
        value = b"".join(unescape(token[1:-1], (token.start_pos or 0) + 1) for token in tokens)
        return String(value, tokens[0].start_pos or 0, tokens[-1].end_pos or 0)

    def type(self, token: Token) -> Type:
        return Type(str(token[1:]), token.start_pos or 0, token.end_pos or 0)


def _start(node: Node) -> int:
    return getattr(node, "start", 0)


def _end(node: Node) -> int:
    return getattr(node, "end", 0)


def _reduce(values: list[Node], operators: list[str]) -> None:
    right, left = values.pop(), values.pop()
    values.append(Binary(str(operators.pop()), left, right, _start(left), _end(right)))


def build_parser(build: Build, start: str = "start", more: str = "") -> Lark:
    """A parser of the grammar's rule `start`, with `more` rules behind it; its results are what `build` makes of them."""
    grammar = (Path(__file__).parent / "grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar + more, parser="lalr", start=start, transformer=build, maybe_placeholders=False, keep_all_tokens=False)


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return build_parser(Build())


@lru_cache(maxsize=REMEMBERED)
def parse_operands(text: str) -> tuple[ParsedOperand, ...]:
    """The operands written in `text`. Raises SourceError with columns that count from the start of `text`."""
    if not text:
        return ()
    try:
        operands: tuple[ParsedOperand, ...] = _parser().parse(text)  # type: ignore[assignment]
        return operands
    except UnexpectedInput as error:
        raise _explain(text, error) from None


def _explain(text: str, error: UnexpectedInput) -> SourceError:
    """The message for a syntax error."""
    if isinstance(error, UnexpectedCharacters):
        at = error.pos_in_stream or 0
        if text[at] == '"':
            return SourceError('unterminated string: the closing " is missing', at, len(text))
        if text[at] == "'":
            return SourceError("a character constant is one character between quotes, e.g. 'a'", at, at + 1)
        if text[at] in "])}[{":
            return SourceError(f"unexpected {text[at]}", at, at + 1, hint="memory operands are written offset(register)")
        return SourceError(f"unexpected character {text[at]!r}", at, at + 1)
    if not isinstance(error, UnexpectedToken):
        return SourceError("this line cannot be read", 0, len(text))
    token = error.token
    expected = set(error.expected)
    if token.type == "$END":
        end = len(text.rstrip())
        if text.count("(") > text.count(")"):
            at = _unclosed(text)
            return SourceError("unbalanced parenthesis: this ( is never closed", at, at + 1)
        if text.rstrip().endswith(","):
            return SourceError("an operand is missing after the comma", end - 1, end)
        return SourceError("the line ends where an operand or a number is expected", max(0, end - 1), end)
    start, end = token.start_pos or 0, token.end_pos or 0
    if token.type == "RPAR":
        if "COMMA" in expected or text.count(")") > text.count("("):
            return SourceError("unbalanced parenthesis: this ) closes nothing", start, end)
        return SourceError("an expression is missing before the )", start, end)
    if token.type == "COMMA" and "COMMA" not in expected:
        if text.count("(") > text.count(")"):
            at = _unclosed(text)
            return SourceError("unbalanced parenthesis: this ( is never closed", at, at + 1)
        return SourceError("an operand is missing before this comma", start, end)
    if token.type in _VALUES and "COMMA" in expected:
        return SourceError(f"a comma is missing before `{token}`", start, end, hint="operands are separated by commas")
    wanted = "an operand" if expected & _VALUES else " or ".join(sorted({_TOKENS.get(t, t.lower()) for t in expected}))
    return SourceError(f"unexpected `{token}`: {wanted} is expected here", start, end)


def _unclosed(text: str) -> int:
    """Column of the innermost ( that has no partner."""
    opened: list[int] = []
    for at, character in enumerate(text):
        if character == "(":
            opened.append(at)
        elif character == ")" and opened:
            opened.pop()
    return opened[-1] if opened else 0
