"""What the code of a program reads, counted while it is written: bytes near (the scratchpad) and far (the memory beyond).

    profile.reads(row, operands, csrs)      an instruction: the row's shapes say how many bytes its operands have
    with profile.tiles(rows, total, most)   its block is a loop over tiles; register `rows` holds the rows of each
    profile.section("layer0").at({"s4": positions})

Lengths are numbers, or registers of which it was told what they hold. What depends on data, as the number of active neurons does,
is taken at its most, and said so. The counters of a run are the same numbers; no code is executed here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from isa.arithmetic import group_count
from isa.instruction import Row
from isa.shapes import Shape

Amount = tuple[int, str]
"""(factor, register): so many times what the register holds. Register "": the factor alone."""

CHOICE, STEP = "choice", "step"
"""The sections for what is read between the operations of a token and those of the next one, both generated at temperature 0: for
each text, and of several texts once for all."""
TEXTS = "texts"
"""Stands for a register that holds how many tokens go through the layers together: in a step of several texts one of each."""

_CSRS = {"cols": "vec.cols", "head_dim": "vec.head_dim"}           # what a shape calls the value of a CSR
_LOADS = {"lb": 1, "lbu": 1, "lh": 2, "lhu": 2, "lw": 4, "lwu": 4, "flw": 4, "ld": 8}


@dataclass
class Reads:
    """Bytes that are read near and far, copies from far, and scalar loads of the program's variables (bytes)."""

    near: int = 0
    far: int = 0
    copies: int = 0
    variables: int = 0

    def add(self, other: Reads, times: int = 1) -> None:
        self.near += times * other.near
        self.far += times * other.far
        self.copies += times * other.copies
        self.variables += times * other.variables


@dataclass(frozen=True)
class _Operand:
    """What an instruction reads: its shape, with an amount for each dimension."""

    far: bool
    shape: Shape
    dims: Mapping[str, Amount]

    def size(self, held: Mapping[str, int]) -> int:
        return self.shape.size({name: factor * held[register] if register else factor
                                for name, (factor, register) in self.dims.items()})


@dataclass
class _Block:
    """Instructions, loads and inner blocks. It is repeated `times`, or once for each tile of at most `most` of `total` rows."""

    times: int = 1
    rows: str = ""
    total: Amount = (0, "")
    most: int = 0
    operands: list[_Operand] = field(default_factory=list)
    loaded: int = 0
    blocks: list[_Block] = field(default_factory=list)

    def at(self, held: Mapping[str, int]) -> Reads:
        """What all repetitions read, with these numbers in registers."""
        found = Reads()
        if not self.rows:
            found.add(self._once(held), self.times)
            return found
        factor, register = self.total
        whole, rest = divmod(factor * held[register] if register else factor, self.most)
        if whole:
            found.add(self._once({**held, self.rows: self.most}), whole)
        if rest:
            found.add(self._once({**held, self.rows: rest}))
        return found

    def steps(self, register: str) -> Iterator[int]:
        """Profile.steps."""
        if self.rows and self.total[1] == register:
            yield self.most
        for block in self.blocks:
            yield from block.steps(register)

    def _once(self, held: Mapping[str, int]) -> Reads:
        found = Reads(variables=self.loaded)
        for operand in self.operands:
            size = operand.size(held)
            found.add(Reads(far=size, copies=1) if operand.far else Reads(near=size))
        for block in self.blocks:
            found.add(block.at(held))
        return found


class Profile:
    """What code reads, by section. `exact`: nothing depends on data; unknown: instructions whose lengths nobody said."""

    def __init__(self, given: Collection[str] = ()) -> None:
        """`given`: registers whose value is said when a section is asked for."""
        self._given = given
        self.sections: dict[str, _Block] = {}
        self.exact, self.unknown = True, set[str]()
        self._block: _Block | None = None       # what is written outside of sections is not counted
        self._known: dict[str, Amount] = {}
        self._csrs: dict[str, Amount] = {}      # that were set from registers
        self._length: Amount = (0, "")          # activations that the LUT unit holds
        self._section = ""
        self._together: dict[str, Reads] = {}

    def at(self, section: str, held: Mapping[str, int]) -> Reads:
        """What a section reads, with these numbers in registers."""
        return self.sections[section].at(held)

    def _added(self, block: _Block) -> _Block:
        if self._block:
            self._block.blocks.append(block)
        return block

    @contextmanager
    def _inside(self, block: _Block) -> Iterator[None]:
        before, self._block = self._block, block
        yield
        self._block = before

    def steps(self, register: str) -> set[int]:
        """Rows of the tiles of what is as long as a register says."""
        return {most for section in self.sections.values() for most in section.steps(register)}

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """What is written in the block is a section. Inside of the same section that says nothing new."""
        if self._block and self._section == name:
            yield
            return
        before, self._section = self._section, name
        with self._inside(self.sections.setdefault(name, _Block())):
            yield
        self._section = before

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """What is written in the block is not counted."""
        before, self._block = self._block, None
        yield
        self._block = before

    @contextmanager
    def loop(self, times: int) -> Iterator[None]:
        with self._inside(self._added(_Block(times))):
            yield

    @contextmanager
    def tiles(self, rows: str, total: int | str, most: int, held: Mapping[str, Amount] = MappingProxyType({}), *,
              exact: bool = True) -> Iterator[None]:
        """The block is a loop over tiles; `total`: rows of all, a number or the register that holds it. `held`: other registers."""
        self.exact &= exact
        block = self._added(_Block(rows=rows, total=self._amount(total) or (0, ""), most=most))
        before, self._known = self._known, {**self._known, rows: (1, rows), **held}
        with self._inside(block):
            yield
        self._known = before

    @contextmanager
    def known(self, register: str, factor: int, of: str = "", *, exact: bool = True) -> Iterator[None]:
        """In the block a register holds so many times what `of` holds, or the factor. Not `exact`: at most that."""
        self.exact &= exact
        before = self._known
        amount = self._amount(of) if of else (1, "")
        if amount:
            self._known = {**before, register: (factor * amount[0], amount[1])}
        yield
        self._known = before

    def csr(self, name: str, value: int | str = "") -> None:
        """A CSR has a number here, or what a register holds; "": `reads` is told."""
        if (amount := self._amount(value) if value != "" else None) is None:
            self._csrs.pop(name, None)
        else:
            self._csrs[name] = amount

    def _amount(self, of: int | str) -> Amount | None:
        return (of, "") if isinstance(of, int) else (1, of) if of in self._given else self._known.get(of)

    # -------------------------------------------------------------------------------------------- what is written

    def load(self, instruction: str) -> None:
        """A line of the core: a load of a variable."""
        if self._block and instruction:
            self._block.loaded += _LOADS.get(instruction.split(maxsplit=1)[0], 0)

    def framed(self, size: int) -> None:
        """A load from the head of a frame, which lies in the scratchpad."""
        self.stored(1, size, "core")

    def stored(self, rows: int | str, row_bytes: int, mnemonic: str) -> None:
        """Besides, an instruction reads so many bytes of each row of a matrix that is stored without its zeros: values, metadata,
        scales. 0: nobody knows."""
        if (amount := self._amount(rows)) is None or not row_bytes:
            self.unknown.add(mnemonic)
        elif self._block:
            self._block.operands.append(_Operand(False, Shape("u8", ("rows", "bytes")), {"rows": amount, "bytes": (row_bytes, "")}))

    def together(self, near: int, far: int = 0) -> None:
        """Besides, all layers with the code of this section read so many bytes, taken together."""
        if self._block:
            self._together.setdefault(self._section, Reads()).add(Reads(near, far))

    def of_all(self, section: str) -> Reads:
        """What all layers with the code of a section read, besides what each does."""
        return self._together.get(section, Reads())

    def reads(self, row: Row, values: Sequence[int | str], csrs: Mapping[str, int], near: bool) -> None:
        """An instruction with its operands: numbers, or registers. `near`: a copy from the scratchpad."""
        named = dict(zip((operand.name for operand in row.operands), values, strict=True))
        if row.mnemonic.startswith(("lut.build", "sp.build", "cim.build")):
            self._length = self._amount(named["n"]) or (0, "")
        for operand in row.operands:
            if "<" not in operand.access or not self._block or "stored" in operand.layout.dims:
                continue                            # stored values: `stored` says how many
            dims = {dim: self._dimension(dim, named, row.unit, csrs) for dim in operand.layout.dims if not dim.isdecimal()}
            if row.unit == "lut" and "groups" in dims and not csrs.get("lut.scale_group"):
                dims = {dim: amount if dim == "vectors" else (1, "") for dim, amount in dims.items()}       # one scale for all rows
            known = {dim: amount for dim, amount in dims.items() if amount is not None}
            if len(known) < len(dims):
                self.unknown.add(row.mnemonic)
                continue
            self._block.operands.append(_Operand(row.unit == "fetch" and not near and operand.name in ("src", "table"),
                                                 operand.layout, known))

    def _dimension(self, dim: str, named: Mapping[str, int | str], unit: str, csrs: Mapping[str, int]) -> Amount | None:
        if dim == "fetch.table_rows":
            return self._amount(named["count"])         # rows that are read of the table
        if dim == "1+rows":
            return 2, ""                                # of thr.select's table: at most its levels and a row of it
        if dim in named:
            return self._amount(named[dim])
        if dim == "vectors":
            return self._csrs.get(f"{unit}.vectors") or (csrs.get(f"{unit}.vectors") or 1, "")
        if dim == "length":
            return self._length
        if dim == "groups":
            length = self._length if unit == "lut" and "n" not in named else self._amount(named["n"])
            if length is None:
                return None
            group = csrs.get(f"{unit}.scale_group", 0)
            if not group:
                return 1, ""
            return (group_count(length[0], group), "") if not length[1] else (length[0] // group, length[1])
        name = _CSRS.get(dim, dim)
        value = csrs.get(name)
        return self._csrs.get(name) if value is None else (value, "")
