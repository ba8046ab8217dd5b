"""Expressions: what may stand for a number, and its value.

A node is an int or float for a constant, or one of the classes below; columns are kept for diagnostics. Values are unbounded
integers while they are computed, so nothing wraps before the place that uses a value has checked its range. Operators and
their precedence are C's. A label has the value `Place`, which can be moved by a constant, and subtracted from a place at a
known distance. What else is asked of it raises Unresolved until sections are laid out; then a place is its address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asm.diagnostics import SourceError

if TYPE_CHECKING:
    from asm.fragments import Fragment


class Unresolved(Exception):
    """The value depends on addresses that are not known yet."""


@dataclass(eq=False, slots=True)
class Place:
    """A label before layout: `offset` bytes into a fragment of a section."""

    fragment: Fragment
    offset: int

    @property
    def address(self) -> int:
        """The absolute address, when sections have been laid out. Raises Unresolved before."""
        fragment = self.fragment
        if not fragment.section.laid_out:
            raise Unresolved
        return fragment.section.address + fragment.offset + self.offset


@dataclass(eq=False, slots=True)
class Name:
    """A symbol, a register, a numeric local label (1b) or "." """

    text: str
    start: int
    end: int


@dataclass(eq=False, slots=True)
class Unary:
    operator: str
    operand: Node
    start: int
    end: int


@dataclass(eq=False, slots=True)
class Binary:
    operator: str
    left: Node
    right: Node
    start: int
    end: int


@dataclass(eq=False, slots=True)
class Group:
    """A parenthesised expression; with a register inside it is a memory operand without offset: (a0)."""

    operand: Node
    start: int
    end: int


@dataclass(eq=False, slots=True)
class Function:
    """%hi(...), %lo(...), %pcrel_hi(...), %pcrel_lo(...)"""

    name: str
    operand: Node
    start: int
    end: int


@dataclass(eq=False, slots=True)
class Constant:
    """A number with its columns. `text` is what was written, for directives that want more than the value."""

    value: int | float
    text: str
    start: int
    end: int


Node = Constant | Name | Unary | Binary | Group | Function | Place | int
Value = int | Place


def truncating_quotient(left: int, right: int) -> int:
    """C's division: towards zero."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


# operator: (precedence, higher binds tighter; function)
BINARY: dict[str, tuple[int, Callable[[int, int], int]]] = {
    "*":  (10, lambda a, b: a * b),
    "/":  (10, truncating_quotient),
    "%":  (10, lambda a, b: a - b * truncating_quotient(a, b)),
    "+":  (9,  lambda a, b: a + b),
    "-":  (9,  lambda a, b: a - b),
    "<<": (8,  lambda a, b: a << b),
    ">>": (8,  lambda a, b: a >> b),
    "<":  (7,  lambda a, b: int(a < b)),
    "<=": (7,  lambda a, b: int(a <= b)),
    ">":  (7,  lambda a, b: int(a > b)),
    ">=": (7,  lambda a, b: int(a >= b)),
    "==": (6,  lambda a, b: int(a == b)),
    "!=": (6,  lambda a, b: int(a != b)),
    "<>": (6,  lambda a, b: int(a != b)),
    "&":  (5,  lambda a, b: a & b),
    "^":  (4,  lambda a, b: a ^ b),
    "|":  (3,  lambda a, b: a | b),
    "&&": (2,  lambda a, b: int(bool(a) and bool(b))),
    "||": (1,  lambda a, b: int(bool(a) or bool(b))),
}
UNARY: dict[str, Callable[[int], int]] = {
    "-": lambda a: -a, "+": lambda a: a, "~": lambda a: ~a, "!": lambda a: int(not a)}

MOST_BITS = 1024        # of a number; more is a mistake, and would only fill memory


def evaluate(node: Node, lookup: Callable[[Name], Value]) -> Value:
    """The value of an expression, with `lookup` for the names in it.

    Raises Unresolved when it depends on the layout, SourceError when it has no integer value.
    """
    try:
        return _evaluate(node, lookup)
    except RecursionError:
        raise SourceError("the expression is nested too deeply", *span(node)) from None


def _evaluate(node: Node, lookup: Callable[[Name], Value]) -> Value:
    match node:
        case int() | Place():
            return node
        case Constant(value=constant):
            if isinstance(constant, float):
                raise SourceError("a floating-point number cannot stand here: an integer is expected", node.start, node.end)
            return constant
        case Name():
            return lookup(node)
        case Group(operand=inner):
            return _evaluate(inner, lookup)
        case Unary(operator=operator, operand=inner):
            return UNARY[operator](number(_evaluate(inner, lookup)))
        case Binary():
            return _binary(node, _evaluate(node.left, lookup), _evaluate(node.right, lookup))
        case Function(name=name):
            raise SourceError(f"%{name} can stand only as the whole immediate of an instruction", node.start, node.end)


def _binary(node: Binary, left: Value, right: Value) -> Value:
    operator = node.operator
    if isinstance(left, int) and isinstance(right, int):
        if operator in ("/", "%") and right == 0:
            raise SourceError("division by zero", node.start, node.end)
        if operator in ("<<", ">>") and not 0 <= right <= MOST_BITS:
            raise SourceError(f"shift by {right}: 0..{MOST_BITS} is possible", node.start, node.end)
        value = BINARY[operator][1](left, right)
        if value.bit_length() > MOST_BITS:
            raise SourceError(f"the value has more than {MOST_BITS} bits", node.start, node.end)
        return value
    if operator == "+" and isinstance(left, Place) and isinstance(right, int):
        return Place(left.fragment, left.offset + right)
    if operator == "+" and isinstance(left, int) and isinstance(right, Place):
        return Place(right.fragment, right.offset + left)
    if operator == "-" and isinstance(left, Place):
        if isinstance(right, int):
            return Place(left.fragment, left.offset - right)
        distance = left.fragment.distance_from(right.fragment)
        if distance is not None:
            return distance + left.offset - right.offset
    return _binary(node, number(left), number(right))


def number(value: Value) -> int:
    """The value as an integer: an address for a place. Raises Unresolved before the layout."""
    return value.address if isinstance(value, Place) else value


def bind(node: Node, lookup: Callable[[Name], Node]) -> Node:
    """The expression with every name replaced by what it means here and now; names that mean nothing yet remain."""
    match node:
        case Name():
            return lookup(node)
        case Group(operand=inner):
            return bind(inner, lookup)
        case Unary():
            return Unary(node.operator, bind(node.operand, lookup), node.start, node.end)
        case Binary():
            return Binary(node.operator, bind(node.left, lookup), bind(node.right, lookup), node.start, node.end)
        case Function():
            return Function(node.name, bind(node.operand, lookup), node.start, node.end)
        case _:
            return node


def names(node: Node) -> Iterator[Name]:
    """Every name in an expression."""
    match node:
        case Name():
            yield node
        case Group() | Unary() | Function():
            yield from names(node.operand)
        case Binary():
            yield from names(node.left)
            yield from names(node.right)


def span(node: Node) -> tuple[int | None, int | None]:
    """Columns of the expression within its line, counted from the operands; None for a computed node."""
    return (None, None) if isinstance(node, int | Place) else (node.start, node.end)
