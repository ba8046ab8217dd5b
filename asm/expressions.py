"""Expressions, and their values.

A node is an int for a computed number, or one of the classes below; columns are kept for diagnostics. Values are integers of any
size while they are computed: nothing wraps before its range is checked. Operators and their precedence are C's. The value of a
label is a `Location`. A constant can be added to it, and a location at a known distance subtracted from it. Other operations raise
Unresolved until the sections are laid out; then a location is its address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asm.diagnostics import SourceError

if TYPE_CHECKING:
    from asm.fragments import Fragment
    from asm.syntax import ParsedOperand


class Unresolved(Exception):
    """The value depends on addresses that are not known yet, or on a name that has no definition yet."""


@dataclass(eq=False, slots=True)
class Location:
    """A label before layout: `offset` bytes into a fragment of a section."""

    fragment: Fragment
    offset: int

    @property
    def address(self) -> int:
        """The absolute address, when sections have been laid out. Raises Unresolved before."""
        section = self.fragment.section
        if not section.laid_out:
            raise Unresolved
        return section.address + self.fragment.place + self.offset


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


@dataclass(eq=False, slots=True)
class Clock:
    """Counts the eras in which expressions keep their values. An era ends where a name gets another meaning, and with each pass
    of the layout. `walks` counts the expressions that were worked out in all eras."""

    era: int = 0
    walks: int = 0


@dataclass(eq=False, slots=True)
class Shared:
    """The expression that was assigned to symbol `name`: one node in all expressions with that symbol, worked out once an era."""

    name: str
    operand: Node
    clock: Clock
    era: int = -1                       # of the fields below
    value: Value | None = None
    failed: Exception | None = None     # why it has no value
    waits: Name | None = None           # this name needs a definition first


Node = Constant | Name | Unary | Binary | Group | Function | Shared | Location | int
Value = int | Location
Lookup = Callable[["Name"], "Value | Shared"]


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

MOST_BITS = 1024        # of a number; more is a mistake


@dataclass(eq=False, slots=True)
class _Then:
    """A step of `evaluate`: the operands of `node` have been worked out."""

    node: Unary | Binary | Shared


def evaluate(node: Node, lookup: Lookup) -> Value:
    """The value of an expression, with `lookup` for the names in it.

    There is no recursion, and each Shared is worked out once an era, to a value or an error. So long sums and long chains of
    definitions take time in proportion to their length, however often they are used.
    Raises Unresolved when it depends on the layout, SourceError when it has no integer value.
    """
    if isinstance(node, Name):                              # most expressions are a label
        node = lookup(node)
    if isinstance(node, int | Location):
        return node
    todo: list[Node | _Then] = [node]
    values: list[Value] = []
    opened: dict[int, Shared] = {}                          # being worked out, outermost first
    asked: Name | None = None                               # the name whose definition is looked for
    try:
        while todo:
            item = todo.pop()
            match item:
                case int() | Location():
                    values.append(item)
                case Constant(value=constant):
                    if isinstance(constant, float):
                        raise SourceError("a floating-point number is not allowed here: expected an integer", item.start, item.end)
                    values.append(constant)
                case Name():
                    asked = item
                    found = lookup(item)
                    if id(found) in opened:
                        raise SourceError(f"`{item.text}` is defined in terms of itself", item.start, item.end)
                    asked = None
                    todo.append(found)
                case Group():
                    todo.append(item.operand)
                case Unary():
                    todo += (_Then(item), item.operand)
                case Binary():
                    todo += (_Then(item), item.right, item.left)
                case Shared():
                    if id(item) in opened:
                        raise SourceError(f"`{item.name}` is defined in terms of itself")
                    if item.waits is not None:
                        asked = item.waits
                        lookup(asked)                       # raises as long as there is no definition
                    if item.era != item.clock.era:
                        item.clock.walks += 1
                        opened[id(item)] = item
                        todo += (_Then(item), item.operand)
                    elif item.value is not None:
                        values.append(item.value)
                    else:
                        assert item.failed is not None
                        raise copy(item.failed)             # its columns are changed when it is reported
                    asked = None
                case _Then(node=Unary() as unary):
                    values.append(UNARY[unary.operator](number(values.pop())))
                case _Then(node=Binary() as binary):
                    right, left = values.pop(), values.pop()
                    values.append(_binary(binary, left, right))
                case _Then(node=Shared() as shared):
                    del opened[id(shared)]
                    shared.era, shared.value, shared.failed, shared.waits = shared.clock.era, values[-1], None, None
                case Function(name=name):
                    raise SourceError(f"%{name} can only be the whole immediate of an instruction", item.start, item.end)
    except (Unresolved, SourceError) as error:
        failed = copy(error)
        for shared in opened.values():
            shared.era = -1 if asked is not None and isinstance(error, Unresolved) else shared.clock.era
            shared.value, shared.failed, shared.waits = None, failed, asked
        raise
    return values[0]


def _binary(node: Binary, left: Value, right: Value) -> Value:
    operator = node.operator
    if isinstance(left, int) and isinstance(right, int):
        if operator in ("/", "%") and right == 0:
            raise SourceError("division by zero", node.start, node.end)
        if operator in ("<<", ">>") and not 0 <= right <= MOST_BITS:
            raise SourceError(f"shift by {right}: expected 0..{MOST_BITS}", node.start, node.end)
        value = BINARY[operator][1](left, right)
        if value.bit_length() > MOST_BITS:
            raise SourceError(f"the value has more than {MOST_BITS} bits", node.start, node.end)
        return value
    if operator == "+" and isinstance(left, Location) and isinstance(right, int):
        return Location(left.fragment, left.offset + right)
    if operator == "+" and isinstance(left, int) and isinstance(right, Location):
        return Location(right.fragment, right.offset + left)
    if operator == "-" and isinstance(left, Location):
        if isinstance(right, int):
            return Location(left.fragment, left.offset - right)
        distance = left.fragment.distance_from(right.fragment)
        if distance is not None:
            return distance + left.offset - right.offset
    return _binary(node, number(left), number(right))


def number(value: Value) -> int:
    """The value as an integer: an address for a place. Raises Unresolved before the layout."""
    return value.address if isinstance(value, Location) else value


def bind(node: Node, lookup: Callable[[Name], Node]) -> Node:
    """The expression with every name replaced by its meaning at this line; names without a meaning remain."""
    if isinstance(node, Name):
        return lookup(node)
    todo: list[Node | tuple[Unary | Binary | Function]] = [node]
    made: list[Node] = []
    while todo:
        item = todo.pop()
        match item:
            case Name():
                made.append(lookup(item))
            case Group():
                todo.append(item.operand)
            case Unary() | Function():
                todo += ((item,), item.operand)
            case Binary():
                todo += ((item,), item.right, item.left)
            case (Binary() as binary,):
                right, left = made.pop(), made.pop()
                made.append(Binary(binary.operator, left, right, binary.start, binary.end))
            case (Unary() as unary,):
                made.append(Unary(unary.operator, made.pop(), unary.start, unary.end))
            case (Function() as function,):
                made.append(Function(function.name, made.pop(), function.start, function.end))
            case _:
                made.append(item)
    return made[0]


def names(node: Node) -> Iterator[Name]:
    """Every name in an expression, from left to right."""
    todo, seen = [node], set()
    while todo:
        item = todo.pop()
        match item:
            case Name():
                yield item
            case Group() | Unary() | Function():
                todo.append(item.operand)
            case Binary():
                todo += (item.right, item.left)
            case Shared() if id(item) not in seen:
                seen.add(id(item))
                todo.append(item.operand)


def span(node: Node | ParsedOperand) -> tuple[int | None, int | None]:
    """Columns of an operand within its line, counted from the operands; None for a computed node."""
    return getattr(node, "start", None), getattr(node, "end", None)
