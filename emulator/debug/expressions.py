"""The debugger's expressions: registers, CSRs, counters, symbols and memory, in C's operators.

    a0  x[10]  pc              registers          u8[sp + 8]  i32[table + 4 * a1]  f32[a0]    memory
    vec.cols  lut.lookups      CSRs, counters     f32(a0)                                     the number whose bits these are
    main  main + 8             symbols: addresses bits(1.5)                                   the f32 bits of a number
    $gp   &gp                  the register, the address of the symbol: where a program has a symbol gp, plain gp is an error

Values are 64-bit integers in two's complement, or floating-point numbers where memory or f32() gives one. From loosest to
tightest: || && comparisons | ^ & shifts + - * / % unary - ~ !. Bitwise operators bind tighter than comparisons, as in
`a0 & 1 == 0`. Names are looked up when an expression is read; nothing but reading memory can fail later.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emulator.debug.access import DebugError, read_memory, write_csr, write_memory, write_register
from isa.arithmetic import s64
from isa.csrs import CSRS
from isa.hints import nearest
from isa.numbers import FORMATS
from isa.program import Program, Symbol
from isa.reference import ReferenceMachine
from isa.registers import ABI_NAMES, NUMBER
from isa.vocabulary import WORD

Number = int | float
Evaluate = Callable[[ReferenceMachine], Number]
Store = Callable[[ReferenceMachine, Number], None]

MEMORY = {"i8": "<i1", "u8": "<u1", "i16": "<i2", "u16": "<u2", "i32": "<i4", "u32": "<u4", "i64": "<i8", "u64": "<u8",
          "f16": "<f2", "f32": "<f4", "bf16": "bf16"}
FLOATS = ("f16", "f32", "bf16")
_MOST_WORDS = 200           # of an expression: what is read and evaluated by recursion has a bound

_WORD = re.compile(r"""\s*(?:(?P<number>0[xX][\da-fA-F_]+|0[bB][01_]+|\d[\d_]*\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\d[\d_]*)
                        |(?P<char>'[^'\\]')|(?P<name>[A-Za-z_.$][\w.$]*)
                        |(?P<sign>\|\||&&|<<|>>|[<>=!]=|[-+*/%&|^~!<>()\[\]]))""", re.VERBOSE)

_TIGHTNESS = {sign: level for level, signs in enumerate(
    ("||", "&&", "== != < <= > >=", "|", "^", "&", "<< >>", "+ -", "* / %")) for sign in signs.split()}


@dataclass(frozen=True)
class Expression:
    """What was read: `evaluate(machine)` gives its value, `store`, where there is one, sets it. Both raise DebugError."""

    text: str
    evaluate: Evaluate
    store: Store | None = None


def parse_expression(text: str, program: Program | None) -> Expression:
    """Read an expression. Raises DebugError: what was expected, and what stands there."""
    parser = _Parser(text, program)
    node = parser.binary(0)
    if parser.position < len(parser.words):
        raise parser.unexpected("an operator or the end")
    return Expression(text.strip(), node.evaluate, node.store)


def integer(value: Number, what: str) -> int:
    """The value, which has to be an integer."""
    if not isinstance(value, int):
        raise DebugError(f"{what} is {value}; expected an integer")
    return value


def symbol_of(text: str, program: Program | None) -> Symbol | None:
    """The symbol that a whole text names: `table` or `&table`."""
    return program.symbol(text.strip().removeprefix("&").strip()) if program else None


def refuse_both(name: str, what: str, program: Program | None) -> None:
    """Raise DebugError for a plain name that is something of the machine and a symbol of the program as well."""
    if program is not None and program.symbol(name) is not None:
        raise DebugError(f"`{name}` is {what} and a symbol of the program: expected ${name} for {what}, "
                         f"or &{name} for the address of the symbol")


def register_number(name: str) -> int | None:
    """Number of a register by name: a0, x10, $a0."""
    return NUMBER.get(name.removeprefix("$"))


# ------------------------------------------------------------------------------------------------ operators


def _quotient(a: Number, b: Number) -> Number:
    if b == 0:
        raise DebugError("division by zero")
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)         # towards zero, as div does
    return a / b


def _remainder(a: int, b: int) -> int:
    if b == 0:
        raise DebugError("division by zero")
    return int(math.copysign(1, a)) * (abs(a) % abs(b))


def _shift(function: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def shift(a: int, b: int) -> int:
        if not 0 <= b < 64:
            raise DebugError(f"shift by {b}; expected 0..63")
        return function(a, b)
    return shift


_OPERATORS: dict[str, Callable[..., Number]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": _quotient,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_ON_INTEGERS: dict[str, Callable[[int, int], int]] = {
    "%": _remainder, "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "<<": _shift(operator.lshift), ">>": _shift(operator.rshift)}


def _operation(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    if sign == "&&":
        return lambda m: int(bool(left(m)) and bool(right(m)))
    if sign == "||":
        return lambda m: int(bool(left(m)) or bool(right(m)))
    if sign in _ON_INTEGERS:
        whole = _ON_INTEGERS[sign]
        return lambda m: s64(whole(integer(left(m), f"the left side of {sign}"), integer(right(m), f"the right side of {sign}")))
    function = _OPERATORS[sign]

    def evaluate(machine: ReferenceMachine) -> Number:
        try:
            result = function(left(machine), right(machine))
        except OverflowError:
            raise DebugError(f"the result of {sign} is too large") from None
        return s64(int(result)) if isinstance(result, int) else result
    return evaluate


# ------------------------------------------------------------------------------------------------ memory


def _read_number(machine: ReferenceMachine, form: str, address: int) -> Number:
    if form == "bf16":
        return float(FORMATS["bf16"].unpack(read_memory(machine, address, 2).reshape(1, 2), 1)[0, 0])
    kind = np.dtype(MEMORY[form])
    value = read_memory(machine, address, kind.itemsize).copy().view(kind)[0].item()
    return value if isinstance(value, float) else s64(value)


def _number_bytes(form: str, value: Number) -> bytes:
    """Raises DebugError for what the type does not hold."""
    if form in FLOATS:
        return FORMATS[form].pack([[float(value)]]).tobytes()
    kind = np.dtype(MEMORY[form])
    bits = 8 * kind.itemsize
    if not -(1 << bits - 1) <= integer(value, "the value") < 1 << bits:
        raise DebugError(f"{value} does not fit into {form}")
    return (int(value) & (1 << bits) - 1).to_bytes(kind.itemsize, "little")


# ------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class _Node:
    evaluate: Evaluate
    store: Store | None = None


class _Parser:
    """Recursive descent over the words of one expression."""

    def __init__(self, text: str, program: Program | None) -> None:
        self.text, self.program = text.strip(), program
        self.words: list[re.Match[str]] = []
        self.position = at = 0
        while at < len(self.text):
            word = _WORD.match(self.text, at)
            if word is None:
                raise DebugError(f"`{self.text}`: `{self.text[at:].strip()[:20]}` is not part of an expression")
            self.words.append(word)
            at = word.end()
        if len(self.words) > _MOST_WORDS:
            raise DebugError(f"an expression of {len(self.words)} words; expected at most {_MOST_WORDS}")

    def unexpected(self, expected: str) -> DebugError:
        got = f"`{self._sign()}`" if self.position < len(self.words) else "the end"
        return DebugError(f"`{self.text}`: expected {expected}, got {got}" if self.text else f"expected {expected}, got nothing")

    def _sign(self) -> str:
        return self.words[self.position][0].strip() if self.position < len(self.words) else ""

    def _take(self, sign: str) -> None:
        if self._sign() != sign:
            raise self.unexpected(f"`{sign}`")
        self.position += 1

    def binary(self, level: int) -> _Node:
        """Operators of at least this tightness."""
        left = self._unary()
        while (sign := self._sign()) in _TIGHTNESS and _TIGHTNESS[sign] >= level:
            self.position += 1
            left = _Node(_operation(sign, left.evaluate, self.binary(_TIGHTNESS[sign] + 1).evaluate))
        return left

    def _unary(self) -> _Node:
        sign = self._sign()
        if sign not in ("-", "~", "!", "+", "&"):
            return self._primary()
        self.position += 1
        if sign == "&":
            name = self._sign()
            self.position += 1
            return self._symbol(name, "symbol")
        inner = self._unary().evaluate
        match sign:
            case "-": return _Node(lambda m: s64(-value) if isinstance(value := inner(m), int) else -value)
            case "~": return _Node(lambda m: s64(~integer(inner(m), "the operand of ~")))
            case "!": return _Node(lambda m: int(not inner(m)))
            case _:   return _Node(inner)

    def _primary(self) -> _Node:
        if self.position >= len(self.words):
            raise self.unexpected("a value")
        word = self.words[self.position]
        if word["number"]:
            value = _literal(word["number"])
            self.position += 1
            return _Node(lambda m: value)
        if word["char"]:
            self.position += 1
            code = ord(word["char"][1])
            return _Node(lambda m: code)
        if word["sign"] == "(":
            self.position += 1
            inside = self.binary(0)
            self._take(")")
            return _Node(inside.evaluate)
        if not word["name"]:
            raise self.unexpected("a value")
        self.position += 1
        follows = self._sign()
        if word["name"] == "x" and follows == "[":
            return self._register()
        if word["name"] in MEMORY and follows == "[":
            self._take("[")
            address = self.binary(0).evaluate
            self._take("]")
            return _memory(word["name"], address)
        if word["name"] in (*FLOATS, "bits") and follows == "(":
            self._take("(")
            bits = self.binary(0).evaluate
            self._take(")")
            return _Node(_bits(bits) if word["name"] == "bits" else _float(word["name"], bits))
        return self._name(word["name"])

    def _register(self) -> _Node:
        """x[a0], x[10]."""
        self._take("[")
        name = self._sign()
        number = register_number(name) if not name.isdigit() else int(name)
        if number is None or number > 31:
            raise self.unexpected("a register or a number 0..31")
        self.position += 1
        self._take("]")
        return _of_register(number)

    def _name(self, name: str) -> _Node:
        plain = name.removeprefix("$")
        if plain == "pc" or plain in NUMBER:
            refuse_both(name, "a register", self.program)
            return _of_register(NUMBER[plain]) if plain != "pc" else _Node(
                lambda m: s64(m.pc), lambda m, value: setattr(m, "pc", integer(value, "the value") & WORD))
        if plain in CSRS:
            refuse_both(name, "a CSR", self.program)
            return _Node(lambda m: s64(m.csr(plain)), lambda m, value: write_csr(m, plain, integer(value, "the value")))
        return self._symbol(name, "register, CSR, counter or symbol", *ABI_NAMES, "pc", *CSRS)

    def _symbol(self, name: str, expected: str, *others: str) -> _Node:
        """The address of a symbol. Raises DebugError: it is none of what was expected, with the nearest symbol or other name."""
        symbol = self.program.symbol(name) if self.program else None
        if symbol is None:
            hint = nearest(name, [*others, *(s.name for s in (self.program.symbols if self.program else ()))], quote="`")
            raise DebugError(f"`{name}` is no {expected}" + (hint and f"; {hint}"))
        value = s64(symbol.value)
        return _Node(lambda m: value)


def _literal(text: str) -> Number:
    try:
        number: Number = int(text, 0)
    except ValueError:
        try:
            number = int(text) if text.replace("_", "").isdigit() else float(text)      # 007
        except ValueError:
            raise DebugError(f"`{text}` is not a number") from None
    if isinstance(number, float):
        return number
    if number > WORD:
        raise DebugError(f"`{text}` has more than 64 bits")
    return s64(number)


def _of_register(number: int) -> _Node:
    return _Node(lambda m: s64(m.x[number]), lambda m, value: write_register(m, number, integer(value, "the value")))


def _memory(form: str, address: Evaluate) -> _Node:
    def where(machine: ReferenceMachine) -> int:
        return integer(address(machine), "the address") & WORD
    return _Node(lambda m: _read_number(m, form, where(m)),
                 lambda m, value: write_memory(m, where(m), _number_bytes(form, value)))


def _float(form: str, bits: Evaluate) -> Evaluate:
    """f32(a0): the number whose bits are the low ones of an integer."""
    def evaluate(machine: ReferenceMachine) -> float:
        size = int(FORMATS[form].bits) // 8
        data = (integer(bits(machine), f"the operand of {form}()") & (1 << 8 * size) - 1).to_bytes(size, "little")
        return float(FORMATS[form].unpack(np.frombuffer(data, np.uint8).reshape(1, size), 1)[0, 0])
    return evaluate


def _bits(number: Evaluate) -> Evaluate:
    """bits(1.5): what a register holds that means this f32."""
    return lambda m: int.from_bytes(FORMATS["f32"].pack([[float(number(m))]]).tobytes(), "little")
