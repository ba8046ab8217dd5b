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
    """The value depends on addresses that are not known yet, or on `name`, which has no definition yet."""

    def __init__(self, name: Name | None = None) -> None:
        super().__init__()
        self.name = name


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


@dataclass(eq=False, slots=True)
class Shared:
    """The expression that symbol `name` was given: one node in all expressions with that symbol, and worked out once for all."""

    name: str
    operand: Node
    value: Value | None = None          # when it is known for good
    waits: Name | None = None           # before it has a value, this name needs one
    era: int = -1                       # of `meanwhile`
    meanwhile: Value | None = None      # its value as long as the era lasts; None: it depends on the layout


Node = Constant | Name | Unary | Binary | Group | Function | Shared | Place | int
Value = int | Place
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

MOST_BITS = 1024        # of a number; more is a mistake, and would only fill memory


@dataclass(eq=False, slots=True)
class _Then:
    """What is left to do when the operands of `node` have been worked out; `moving` counts for a Shared."""

    node: Unary | Binary | Shared
    moving: int = 0


def evaluate(node: Node, lookup: Lookup, era: int | None = None) -> Value:
    """The value of an expression, with `lookup` for the names in it.

    Without recursion, and each Shared once, so that long sums and long chains of definitions take no more than their length.
    `era`: while the source is read, a number that changes when a name in an expression that was kept means something else; later
    None.
    Raises Unresolved when it depends on the layout, SourceError when it has no integer value.
    """
    if isinstance(node, Name):                              # by far the most are a label
        node = lookup(node)
    if isinstance(node, int | Place):
        return node
    todo: list[Node | _Then] = [node]
    values: list[Value] = []
    opened: dict[int, Shared] = {}                          # being worked out, outermost first
    done: dict[int, tuple[Value, bool]] = {}                # in this call: value, and whether the layout may change it
    moving = 0                                              # operations so far whose result the layout may change
    try:
        while todo:
            item = todo.pop()
            match item:
                case int() | Place():
                    values.append(item)
                case Constant(value=constant):
                    if isinstance(constant, float):
                        raise SourceError("a floating-point number cannot stand here: an integer is expected", item.start, item.end)
                    values.append(constant)
                case Name():
                    found = lookup(item)
                    if id(found) in opened:
                        raise SourceError(f"`{item.text}` is defined in terms of itself", item.start, item.end)
                    todo.append(found)
                case Group():
                    todo.append(item.operand)
                case Unary():
                    todo += (_Then(item), item.operand)
                case Binary():
                    todo += (_Then(item), item.right, item.left)
                case Shared():
                    if item.value is not None:
                        values.append(item.value)
                    elif id(item) in opened:
                        raise SourceError(f"`{item.name}` is defined in terms of itself")
                    elif id(item) in done:
                        values.append(done[id(item)][0])
                        moving += done[id(item)][1]
                    else:
                        if era is not None:
                            if item.waits is not None:
                                lookup(item.waits)          # raises Unresolved as long as there is no definition
                            if item.era == era:
                                if item.meanwhile is None:
                                    raise Unresolved
                                values.append(item.meanwhile)
                                continue
                        opened[id(item)] = item
                        todo += (_Then(item, moving), item.operand)
                case _Then(node=Unary() as unary):
                    moving += _moves(values[-1])
                    values.append(UNARY[unary.operator](number(values.pop())))
                case _Then(node=Binary() as binary):
                    right, left = values.pop(), values.pop()
                    value = _binary(binary, left, right)
                    moving += isinstance(value, int) and not _same_island(left, right) and (_moves(left) or _moves(right))
                    values.append(value)
                case _Then(node=Shared() as shared):
                    del opened[id(shared)]
                    done[id(shared)] = values[-1], moving != item.moving
                    if era is not None:
                        shared.waits, shared.era, shared.meanwhile = None, era, values[-1]
                    elif moving == item.moving:
                        shared.value = values[-1]
                case Function(name=name):
                    raise SourceError(f"%{name} can stand only as the whole immediate of an instruction", item.start, item.end)
    except Unresolved as error:
        if era is not None:
            for waiting in opened.values():
                waiting.waits, waiting.era, waiting.meanwhile = error.name, -1 if error.name else era, None
        raise
    return values[0]


def _moves(value: Value) -> bool:
    """True for an address that the layout may still change."""
    return isinstance(value, Place) and not value.fragment.section.settled


def _same_island(left: Value, right: Value) -> bool:
    """True for two places whose distance the layout cannot change."""
    return (isinstance(left, Place) and isinstance(right, Place) and left.fragment.section is right.fragment.section
            and left.fragment.island == right.fragment.island)


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


def span(node: Node) -> tuple[int | None, int | None]:
    """Columns of the expression within its line, counted from the operands; None for a computed node."""
    return (None, None) if isinstance(node, int | Place | Shared) else (node.start, node.end)
