"""64 bytes as one LLVM vector, for emitting integer kernels: what lies in a cache line of packed weights.

    v = Vector.load(builder, pointer)               # 64 bytes
    zero = (v ^ 0x55).shift_right(1, 16) & 0x55     # a byte constant goes to all 64 bytes; shifts are within 16-bit elements
    sums = dot(sums, v & 3, activations)            # 16 int32 sums of four products each

Python runs while the kernel is compiled: its loops are unrolled code. On a host with smaller registers LLVM splits the vectors;
LLVM does not find every instruction of the host that would help: `dot` and `look_up` choose those themselves
(emulator/native/features.py).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from emulator.native.emitting import get_or_insert_function
from emulator.native.features import AVX2, AVX512, AVX_VNNI

SIZE = 64                       # bytes of a vector
I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


def vector_type(element: Any, size: int = SIZE) -> Any:
    """The type of `size` bytes of elements."""
    return ir.VectorType(element, size * 8 // element.width)


def spread(kind: Any, value: int) -> Any:
    """A constant in all elements."""
    signed = (value ^ 1 << kind.element.width - 1) - (1 << kind.element.width - 1)
    return ir.Constant(kind, [signed] * kind.count)


def pointer(builder: Any, address: Any, kind: Any) -> Any:
    """A host address as a pointer."""
    return builder.inttoptr(address, kind.as_pointer())


def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Call one of LLVM's functions."""
    function = get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return builder.call(function, arguments)


def shuffle(builder: Any, a: Any, b: Any, lanes: Any) -> Any:
    """Elements of a, numbered from 0, and of b, numbered on from there."""
    lanes = list(lanes)
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


class Vector:
    """64 bytes. Operators work on the bits; integers stand for a byte in each of the 64 places."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @staticmethod
    def load(builder: Any, address: Any, element: Any = I8) -> Vector:
        """64 bytes from a host address, of any alignment."""
        value = builder.load(pointer(builder, address, vector_type(element)))
        value.align = 1
        return Vector(builder, value)

    def store(self, address: Any) -> None:
        """64 bytes to a host address, of any alignment."""
        self.builder.store(self.value, pointer(self.builder, address, self.value.type)).align = 1

    def of(self, element: Any) -> Any:
        """The LLVM value, as elements of this type."""
        return self.builder.bitcast(self.value, vector_type(element))

    def _other(self, other: Vector | int) -> Any:
        return spread(vector_type(I8), other) if isinstance(other, int) else other.of(I8)

    def _new(self, value: Any) -> Vector:
        return Vector(self.builder, value)

    def __and__(self, other: Vector | int) -> Vector:
        return self._new(self.builder.and_(self.of(I8), self._other(other)))

    def __or__(self, other: Vector | int) -> Vector:
        return self._new(self.builder.or_(self.of(I8), self._other(other)))

    def __xor__(self, other: Vector | int) -> Vector:
        return self._new(self.builder.xor(self.of(I8), self._other(other)))

    def __invert__(self) -> Vector:
        return self ^ 0xFF

    def __add__(self, other: Vector) -> Vector:
        """Sums of the elements of self, of its own type."""
        return self._new(self.builder.add(self.value, self.builder.bitcast(other.value, self.value.type)))

    def __sub__(self, other: Vector) -> Vector:
        return self._new(self.builder.sub(self.value, self.builder.bitcast(other.value, self.value.type)))

    def shift_right(self, places: int, element: Any = I16) -> Vector:
        """Logical, within elements. Bits cross bytes, so mask what you use."""
        return self._new(self.builder.lshr(self.of(element), spread(vector_type(element), places))) if places else self

    def shift_left(self, places: int, element: Any = I16) -> Vector:
        return self._new(self.builder.shl(self.of(element), spread(vector_type(element), places))) if places else self

    def divide(self, number: int) -> Vector:
        """int32 sums by a number that divides them: a power of two, or an odd one."""
        if number % 2:
            inverse = spread(vector_type(I32), pow(number, -1, 1 << 32))
            return self._new(self.builder.mul(self.of(I32), inverse)) if number > 1 else self
        return self._new(self.builder.ashr(self.of(I32), spread(vector_type(I32), number.bit_length() - 1)))

    def modulo(self, number: int) -> Vector:
        """Remainders of unsigned bytes below 2 * number, which are all bytes for a number above 127."""
        reduced = self.builder.sub(self.of(I8), spread(vector_type(I8), number))
        return self._new(call(self.builder, "llvm.umin.v64i8", vector_type(I8), [self.of(I8), reduced]))

    def differs(self, other: Vector | int) -> Any:
        """Which of the 64 bytes are not equal, as the bits of an int64."""
        return self.builder.bitcast(self.builder.icmp_unsigned("!=", self.of(I8), self._other(other)), I64)

    def population(self) -> Vector:
        """Bits set in each 64-bit element."""
        kind = vector_type(I64)
        return self._new(call(self.builder, "llvm.ctpop.v8i64", kind, [self.of(I64)]))

    def total(self, element: Any = I32) -> Any:
        """The sum of the elements."""
        return call(self.builder, f"llvm.vector.reduce.add.v{512 // element.width}i{element.width}", element, [self.of(element)])

    def halves(self, element: Any) -> list[Any]:
        """The lower and the upper 32 bytes, as LLVM values."""
        value, count = self.of(element), 512 // element.width
        return [shuffle(self.builder, value, value, range(start, start + count // 2)) for start in (0, count // 2)]


def constants(builder: Any, values: Any) -> list[Vector]:
    """Numbers 0..255 as vectors of 64 bytes."""
    values = [(int(value) ^ 128) - 128 for value in values]
    return [Vector(builder, ir.Constant(vector_type(I8), values[i:i + SIZE])) for i in range(0, len(values), SIZE)]


def zeros(builder: Any, element: Any = I32) -> Vector:
    """All bits zero."""
    return Vector(builder, spread(vector_type(element), 0))


def joined(builder: Any, low: Any, high: Any) -> Vector:
    """Two LLVM values of 32 bytes as one vector."""
    return Vector(builder, shuffle(builder, low, high, range(2 * low.type.count)))


def interleaved(builder: Any, vectors: list[Any]) -> list[Any]:
    """Elements of a power of two of vectors in turn: the first of each, the second of each and so on."""
    if len(vectors) == 1:
        return vectors
    n = vectors[0].type.count
    halves = zip(interleaved(builder, vectors[::2]), interleaved(builder, vectors[1::2]), strict=True)
    return [shuffle(builder, a, b, [lane for i in range(start, start + n // 2) for lane in (i, n + i)])
            for a, b in halves for start in (0, n // 2)]


def prefetch(builder: Any, address: Any, level: int = 2) -> None:
    """Have memory moved to the cache of this level, 1 or 2. Any address is allowed, also one where no memory is."""
    hints = [ir.Constant(I32, value) for value in (0, 4 - level, 1)]    # for reading, locality, data
    call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer(builder, address, I8), *hints])


def population(builder: Any, bits: Any) -> Any:
    """Bits set in an int64."""
    return call(builder, "llvm.ctpop.i64", I64, [bits])


def look_up(table: Vector, codes: Vector) -> Vector:
    """table[code] for codes 0..15: bytes of a table that is repeated every 16 bytes."""
    builder = table.builder
    if AVX512:
        return Vector(builder, call(builder, "llvm.x86.avx512.pshuf.b.512", vector_type(I8), [table.of(I8), codes.of(I8)]))
    if AVX2:
        halves = [call(builder, "llvm.x86.avx2.pshuf.b", vector_type(I8, 32), list(pair))
                  for pair in zip(table.halves(I8), codes.halves(I8), strict=True)]
        return joined(builder, *halves)
    result = zeros(builder, I8).value
    for place in range(SIZE):
        entry = builder.extract_element(table.of(I8), builder.extract_element(codes.of(I8), ir.Constant(I32, place)))
        result = builder.insert_element(result, entry, ir.Constant(I32, place))
    return Vector(builder, result)


def look_up_128(table: list[Vector], codes: Vector) -> Vector:
    """table[code] for codes 0..127, or for the lower seven bits: a table of two times 64 bytes. AVX-512 only."""
    low, high = table
    return Vector(codes.builder, call(codes.builder, "llvm.x86.avx512.vpermi2var.qi.512", vector_type(I8),
                                      [low.of(I8), codes.of(I8), high.of(I8)]))


def look_up_256(table: list[Vector], codes: Vector) -> Vector:
    """table[code] for codes 0..255: a table of four times 64 bytes. AVX-512 only."""
    builder = codes.builder
    halves = [look_up_128(half, codes).value for half in (table[:2], table[2:])]
    upper = builder.icmp_signed("<", codes.of(I8), spread(vector_type(I8), 0))
    return Vector(builder, builder.select(upper, halves[1], halves[0]))


def permuted(table: Vector, places: Vector) -> Vector:
    """table[place] for places 0..63: all 64 bytes of the table are in reach. AVX-512 only."""
    return Vector(table.builder, call(table.builder, "llvm.x86.avx512.permvar.qi.512", vector_type(I8),
                                      [table.of(I8), places.of(I8)]))


def fields(words: Vector, starts: Vector) -> Vector:
    """For each of the eight bytes of a 64-bit word of `starts`, the eight bits of that word that begin there. AVX-512 only."""
    return Vector(words.builder, call(words.builder, "llvm.x86.avx512.pmultishift.qb.512", vector_type(I8),
                                      [starts.of(I8), words.of(I8)]))


def gather(builder: Any, address: Any, offsets: Any, taken: Any, scale: int) -> Any:
    """Words from address + scale * offset for int32 offsets (16,), 0 where `taken`, i1 (16,), is not set. AVX-512 only."""
    kind = ir.VectorType(I32, 16)
    return call(builder, "llvm.x86.avx512.mask.gather.dpi.512", kind,
                [spread(kind, 0), pointer(builder, address, I8), offsets, taken, ir.Constant(I32, scale)])


def dot(sums: Vector, u: Vector, s: Vector, largest: int) -> Vector:
    """sums int32 (16,) + for each four bytes the sum of u * s: u is 0..`largest` unsigned, s signed. Wraps, never saturates."""
    builder = sums.builder
    if AVX512:
        factors = [sums.of(I32), u.of(I32), s.of(I32)]
        return Vector(builder, call(builder, "llvm.x86.avx512.vpdpbusd.512", vector_type(I32), factors))
    if AVX_VNNI:
        thirds = zip(sums.halves(I32), u.halves(I32), s.halves(I32), strict=True)
        return joined(builder, *(call(builder, "llvm.x86.avx512.vpdpbusd.256", vector_type(I32, 32), list(t)) for t in thirds))
    if AVX2 and largest < 128:          # two products fit 16 bits: 2 * 127 * 128 < 2**15
        ones = spread(vector_type(I16, 32), 1)
        pairs = [call(builder, "llvm.x86.avx2.pmadd.ub.sw", ones.type, list(pair))
                 for pair in zip(u.halves(I8), s.halves(I8), strict=True)]
        return sums + joined(builder, *(call(builder, "llvm.x86.avx2.pmadd.wd", vector_type(I32, 32), [p, ones]) for p in pairs))
    return wide_dot(sums, u, *split(s))


def is_split(largest: int) -> bool:
    """True if `dot` with u up to `largest` would split s each time, so that `split` before and `wide_dot` are faster."""
    return AVX2 and not AVX_VNNI and largest >= 128


def split(s: Vector) -> tuple[Vector, Vector]:
    """The even and the odd ones of 64 signed bytes, as int16 (32,) each."""
    builder, eight = s.builder, spread(vector_type(I16), 8)
    return (Vector(builder, builder.ashr(s.shift_left(8).of(I16), eight)), Vector(builder, builder.ashr(s.of(I16), eight)))


def wide_dot(sums: Vector, u: Vector, s_even: Vector, s_odd: Vector) -> Vector:
    """As `dot`, of s that is split."""
    u_even, u_odd = Vector(u.builder, u.builder.and_(u.of(I16), spread(vector_type(I16), 255))), u.shift_right(8)
    return sums + _pairs(u_even, s_even) + _pairs(u_odd, s_odd)


def narrow_dots(largest: int) -> int:
    """How many `narrow_dot` with u up to `largest` fit one another in int16. 0: there is no such way, or `dot` is as fast."""
    return (1 << 15) // (256 * largest) if AVX2 and not AVX_VNNI else 0


def narrow_dot(sums: Vector, u: Vector, s: Vector) -> Vector:
    """sums int16 (32,) + for each two bytes the sum of u * s: u unsigned, s signed. `narrow_dots` says how many fit."""
    builder = sums.builder
    pairs = [call(builder, "llvm.x86.avx2.pmadd.ub.sw", vector_type(I16, 32), list(pair))
             for pair in zip(u.halves(I8), s.halves(I8), strict=True)]
    return Vector(builder, builder.add(sums.of(I16), joined(builder, *pairs).of(I16)))


def widened(sums: Vector) -> Vector:
    """int32 (16,): the sums of two neighbours of int16 each, as `narrow_dot` leaves them."""
    builder, ones = sums.builder, spread(vector_type(I16, 32), 1)
    return joined(builder, *(call(builder, "llvm.x86.avx2.pmadd.wd", vector_type(I32, 32), [half, ones])
                             for half in sums.halves(I16)))


def _pairs(a: Vector, b: Vector) -> Vector:
    """int32 (16,): sums of two products of int16 each."""
    builder = a.builder
    if AVX2:
        return joined(builder, *(call(builder, "llvm.x86.avx2.pmadd.wd", vector_type(I32, 32), list(pair))
                                 for pair in zip(a.halves(I16), b.halves(I16), strict=True)))
    sixteen = spread(vector_type(I32), 16)
    low, high = (builder.mul(*(builder.ashr(v.shift_left(places, I32).of(I32), sixteen) for v in (a, b))) for places in (16, 0))
    return Vector(builder, builder.add(low, high))
