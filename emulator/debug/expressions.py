"""The debugger's expressions: registers, CSRs, counters, symbols and memory, in the assembler's syntax.

    a0  x[10]  pc              registers          u8[sp + 8]  i32[table + 4 * a1]  f32[a0]    memory
    vec.cols  lut.lookups      CSRs, counters     f32(a0)                                     the number whose bits these are
    main  main + 8             symbols: addresses bits(1.5)                                   the f32 bits of a number
    $gp   &gp                  the register, the address of the symbol: where a program has a symbol gp, plain gp is an error

The grammar and the operators are those of asm, with the additions above. Values are 64-bit integers in two's complement, or
floating-point numbers where memory or f32() gives one. Bitwise operators bind tighter than comparisons, as in `a0 & 1 == 0`.
Names are looked up when an expression is read; after that, only reading memory and operators can fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from lark import Lark, Token, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken

from asm.diagnostics import SourceError
from asm.expressions import BINARY, UNARY, Binary, Constant, Function, Group, Name, Node, Unary
from asm.syntax import Build, build_parser
from emulator.debug.access import DebugError, read_memory, write_csr, write_memory, write_register
from isa.arithmetic import s64
from isa.csrs import CSRS
from isa.engine.state import WORD
from isa.hints import nearest
from isa.numbers import FORMATS
from isa.program import Program, Symbol
from isa.reference import ReferenceMachine
from isa.registers import ABI_NAMES, NUMBER

Number = int | float
Evaluate = Callable[[ReferenceMachine], Number]
Store = Callable[[ReferenceMachine, Number], None]

MEMORY = {"i8": "<i1", "u8": "<u1", "i16": "<i2", "u16": "<u2", "i32": "<i4", "u32": "<u4", "i64": "<i8", "u64": "<u8",
          "f16": "<f2", "f32": "<f4", "bf16": "bf16"}
FLOATS = ("f16", "f32", "bf16")
_ON_INTEGERS = ("%", "&", "|", "^", "<<", ">>")
_MOST_WORDS = 200           # of an expression: it is evaluated by recursion, so it has a limit


@dataclass(frozen=True)
class Expression:
    """What was read: `evaluate(machine)` gives its value, `store`, where there is one, sets it. Both raise DebugError."""

    text: str
    evaluate: Evaluate
    store: Store | None = None


def parse_expression(text: str, program: Program | None) -> Expression:
    """Read an expression. Raises DebugError: what was expected, and what stands there."""
    text = text.strip()
    words = len(re.findall(r"[\w.$]+|[^\w.$\s]", text))
    if words > _MOST_WORDS:
        raise DebugError(f"an expression of {words} words; expected at most {_MOST_WORDS}")
    try:
        node: Any = _parser().parse(text)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None
    except SourceError as error:
        raise DebugError(f"`{text}`: {error.message}") from None
    return _Reader(text, program).read(node)


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


# ------------------------------------------------------------------------------------------------ from text to nodes


class Element(Function):
    """name[operand]: a register, or a number in memory."""


@v_args(inline=True)
class _Build(Build):
    """What the grammar here adds, how numbers are written, and the order in which operators bind."""

    tightness = {sign: level for level, signs in enumerate(
        ("||", "&&", "== != <> < <= > >=", "|", "^", "&", "<< >>", "+ -", "* / %")) for sign in signs.split()}

    def element(self, name: Token, index: Node, end: Token) -> Node:
        return Element(str(name), index, name.start_pos or 0, end.end_pos or 0)

    def call(self, name: Token, _left: Token, operand: Node, right: Token) -> Node:
        return Function(str(name), operand, name.start_pos or 0, right.end_pos or 0)

    def symbol(self, name: Token) -> Node:
        return Unary("&", self.name(name), name.start_pos or 0, name.end_pos or 0)

    def number(self, token: Token) -> Node:
        try:
            value = int(token, 0) if token[:2].lower() in ("0x", "0b") else int(token)
        except ValueError:
            raise DebugError(f"`{token}` is not a number") from None
        if value > WORD:
            raise DebugError(f"`{token}` has more than 64 bits")
        return Constant(s64(value), str(token), token.start_pos or 0, token.end_pos or 0)


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return build_parser(_Build(), start="expression", more=r"""
%extend term: NAME "[" expression END    -> element
            | NAME LPAR expression RPAR  -> call
            | "&" NAME                   -> symbol
END: "]"
%override NUMBER.1:  /0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*/
%override CHARACTER: /'[^'\\]'/
""")


def _unexpected(text: str, error: UnexpectedInput) -> DebugError:
    """What was expected, and what stands there."""
    if not text:
        return DebugError("expected a value, got nothing")
    if not isinstance(error, UnexpectedToken):
        return DebugError(f"`{text}`: `{text[error.pos_in_stream or 0:][:20]}` is not part of an expression")
    could = error.accepts
    expected = ("a symbol" if could == {"NAME"} else "a value" if "NAME" in could else "`)`" if "RPAR" in could else
                "`]`" if "END" in could else "an operator or the end")
    return DebugError(f"`{text}`: expected {expected}, got " + (f"`{error.token}`" if error.token.type != "$END" else "the end"))


# ------------------------------------------------------------------------------------------------ from nodes to functions


class _Reader:
    """Makes functions of a machine from the nodes of one expression."""

    def __init__(self, text: str, program: Program | None) -> None:
        self.text, self.program = text, program

    def read(self, node: Node) -> Expression:
        match node:
            case Constant(value=value):                             return self._of(lambda m: value)
            case Name(text=name):                                   return self._name(name)
            case Group(operand=inner):                              return self.read(inner)
            case Unary(operator="&", operand=Name(text=name)):      return self._symbol(name, "symbol")
            case Unary(operator=sign, operand=inner):               return self._of(_unary(sign, self.read(inner).evaluate))
            case Binary(operator=sign, left=left, right=right):
                return self._of(_binary(sign, self.read(left).evaluate, self.read(right).evaluate))
            case Element():                                         return self._element(node)
            case Function():                                        return self._function(node)
        raise AssertionError(node)

    def _of(self, evaluate: Evaluate, store: Store | None = None) -> Expression:
        return Expression(self.text, evaluate, store)

    def _name(self, name: str) -> Expression:
        plain = name.removeprefix("$")
        if plain == "pc" or plain in NUMBER:
            refuse_both(name, "a register", self.program)
            if plain in NUMBER:
                return self._register(NUMBER[plain])
            return self._of(lambda m: s64(m.pc), lambda m, value: setattr(m, "pc", integer(value, "the value") & WORD))
        if plain in CSRS:
            refuse_both(name, "a CSR", self.program)
            return self._of(lambda m: s64(m.csr(plain)), lambda m, value: write_csr(m, plain, integer(value, "the value")))
        return self._symbol(name, "register, CSR, counter or symbol", *ABI_NAMES, "pc", *CSRS)

    def _symbol(self, name: str, expected: str, *others: str) -> Expression:
        """The address of a symbol. Raises DebugError for an unknown name: what was expected, and the nearest known name."""
        symbol = self.program.symbol(name) if self.program else None
        if symbol is None:
            hint = nearest(name, [*others, *(s.name for s in (self.program.symbols if self.program else ()))], quote="`")
            raise DebugError(f"`{name}` is not a {expected}" + (hint and f"; {hint}"))
        value = s64(symbol.value)
        return self._of(lambda m: value)

    def _register(self, number: int) -> Expression:
        return self._of(lambda m: s64(m.x[number]), lambda m, value: write_register(m, number, integer(value, "the value")))

    def _element(self, node: Element) -> Expression:
        """x[10], x[a0], u8[sp + 8]"""
        if node.name == "x":
            match node.operand:
                case Name(text=name) if name.removeprefix("$") in NUMBER:
                    return self._register(NUMBER[name.removeprefix("$")])
                case Constant(value=int() as number) if 0 <= number < 32:
                    return self._register(number)
            raise DebugError(f"`{self.text}`: expected a register or a number 0..31, got "
                             f"`{self.text[node.start:node.end].partition('[')[2][:-1].strip()}`")
        if node.name not in MEMORY:
            raise DebugError(f"`{self.text}`: expected x[...], or memory as {', '.join(MEMORY)}[...], got `{node.name}[...]`")
        form, address = node.name, self.read(node.operand).evaluate

        def where(machine: ReferenceMachine) -> int:
            return integer(address(machine), "the address") & WORD
        return self._of(lambda m: _read_number(m, form, where(m)),
                        lambda m, value: write_memory(m, where(m), _number_bytes(form, value)))

    def _function(self, node: Function) -> Expression:
        """f32(a0): the number whose bits are the low ones of an integer; bits(1.5): what a register holds that means this f32."""
        form, operand = node.name, self.read(node.operand).evaluate
        if form == "bits":
            return self._of(lambda m: int.from_bytes(_number_bytes("f32", operand(m)), "little"))
        if form not in FLOATS:
            raise DebugError(f"`{self.text}`: expected {', '.join(FLOATS)} or bits(...), got `{form}(...)`")
        size = int(FORMATS[form].bits) // 8

        def evaluate(machine: ReferenceMachine) -> float:
            bits = integer(operand(machine), f"the operand of {form}()") & (1 << 8 * size) - 1
            return float(FORMATS[form].unpack(np.frombuffer(bits.to_bytes(size, "little"), np.uint8).reshape(1, size), 1)[0, 0])
        return self._of(evaluate)


def _unary(sign: str, operand: Evaluate) -> Evaluate:
    def evaluate(machine: ReferenceMachine) -> Number:
        value = operand(machine)
        if sign == "~":
            integer(value, "the operand of ~")
        result: Number = UNARY[sign](value)                 # type: ignore[arg-type]    # - + ! work on floats as well
        return s64(result) if isinstance(result, int) else result
    return evaluate


def _binary(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    if sign == "&&":
        return lambda m: int(bool(left(m)) and bool(right(m)))
    if sign == "||":
        return lambda m: int(bool(left(m)) or bool(right(m)))
    apply: Callable[..., Number] = BINARY[sign][1]

    def evaluate(machine: ReferenceMachine) -> Number:
        a, b = left(machine), right(machine)
        if sign in _ON_INTEGERS:
            integer(a, f"the left side of {sign}"), integer(b, f"the right side of {sign}")
        if sign in ("/", "%") and b == 0:
            raise DebugError("division by zero")
        if sign in ("<<", ">>") and not 0 <= b < 64:
            raise DebugError(f"shift by {b}; expected 0..63")
        try:
            result = a / b if sign == "/" and float in (type(a), type(b)) else apply(a, b)
        except OverflowError:
            raise DebugError(f"the result of {sign} is too large") from None
        return s64(result) if isinstance(result, int) else result
    return evaluate


# ------------------------------------------------------------------------------------------------ numbers in memory


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
