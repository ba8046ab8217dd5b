"""The workloads of PIMSimulator on our pim unit: Samsung's kernels, in the order of commands of its controller.

All channels do the same, so one does it here: of 4096 outputs 64, of 131,072 elements 2,048. A kernel begins and ends with a read
of every bank (park); then all banks are taken to HAB and HAB_PIM, and the micro-program runs. What is between two barriers there
stands in the same order here. A command that carries a barrier is prepared when the others are gone: so the last bank of a park is
opened behind the reads of the others.

    GEMV        an output tile is 64 outputs of a channel, 8 in each block; an input tile 128 inputs. Even input tiles lie in even
                banks, odd ones in odd banks, two rows each. For a tile: 8 writes of GRF_A, 64 MACs. Behind all tiles 8 writes
                of GRF_B to odd banks
    add, mul    two times 8 reads, then 8 writes, for 8 columns of the even and then of the odd banks; relu with 8 reads
    tree        as GEMV, but each input tile's sums are written, and GRF_B is cleared by 8 reads of a row of zeros
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emulator.machine import Machine
from slimulator.validate.points import Inexpressible, Point
from slimulator.validate.program import ValidationProgram, expect

SIMULATOR = "PIMSimulator"
MACHINE = "hbm2-pim"
BANKS, BLOCKS, COLUMNS, LANES = 16, 8, 32, 16
CHANNELS = 64                               # of the machine that was simulated
GROUP_OF_COLUMNS = 8                        # columns between two barriers, and registers in GRF_A and GRF_B
TILE_OUTPUTS = BLOCKS * GROUP_OF_COLUMNS    # of a channel
TILE_INPUTS = GROUP_OF_COLUMNS * LANES
PARK_ROW, ZERO_ROW = 4096, 1000
MOST_ROWS = 2048                            # of a matrix, in a bank; its results lie behind it
MOST = 1 << 18                              # outputs, inputs
FIRST = 1                                   # PIMSimulator takes a cycle to bring the first request to its command queue

Half = npt.NDArray[np.float16]


# ------------------------------------------------------------------------------------------------ pieces of text


def data_of(name: str, values: Half) -> str:
    """A label with these numbers."""
    numbers = np.ascontiguousarray(values).reshape(-1).view(np.uint16).tolist()
    lines = [".half " + ", ".join(map(str, numbers[at:at + 32])) for at in range(0, len(numbers), 32)]
    return "\n".join([".balign 32", f"{name}:", *lines])


PARK = f"""
park:                                       # a read of every bank; the one with the barrier is opened behind the others
    la      a0, scratch
    la      t0, bank_order
    addi    t1, t0, {BANKS - 1}
    li      t3, {PARK_ROW}
1:  lbu     t2, 0(t0)
    pim.act t2, t3
    addi    t0, t0, 1
    bne     t0, t1, 1b
    la      t0, bank_order
    li      t4, 0
2:  lbu     t2, 0(t0)
    pim.rd  a0, t2, t4
    pim.pre t2
    addi    t0, t0, 1
    bne     t0, t1, 2b
    lbu     t2, 0(t0)
    pim.act t2, t3
    pim.rd  a0, t2, t4
    pim.pre t2
    ret
"""

def columns(command: str, parity: str, first: str, count: int) -> str:
    """`count` column commands to a half of the banks, from the column in register or number `first` on. Changes t0 and t1."""
    start = f"mv      t1, {first}" if first.startswith(("s", "t", "a")) else f"li      t1, {first}"
    return f"""
    {start}
    addi    t0, t1, {count}
1:  {command} {parity}, t1
    addi    t1, t1, 1
    bne     t1, t0, 1b
"""


def program_text(micro_program: list[str], body: str, data: str = "", before: str = "") -> str:
    """A kernel: what is before it; park, to HAB, its micro-program, the body, to SB, park."""
    quarters = -(-len(micro_program) // 8)
    words = "\n".join(f"    .crf {line}" for line in [*micro_program, *["exit"] * (8 * quarters - len(micro_program))])
    load = "".join(f"    li      t0, {quarter}\n    pim.wr.crf a0, t0\n    addi    a0, a0, 32\n" for quarter in range(quarters))
    order = ", ".join(str(bank % 4 * 4 + bank // 4) for bank in range(BANKS))
    return f"""
    .machine {MACHINE}
    .section .data
bank_order: .byte {order}
    .balign 32
micro_program:
{words}
{data}
    .section .bss
    .balign 32
scratch: .zero 32
    .section .text
    .globl _start
_start:
    csrwi   pim.channel_mask, 1
{before}
    call    park
    pim.mode.hab
    la      a0, micro_program
{load}
{body}
    pim.mode.sb
    call    park
    sync.fence
    li      a0, 0
    li      a7, 93
    ecall
{PARK}"""


def bank_rows(machine: Machine, bank: int, row: int, rows: int) -> Half:
    """A copy of rows of a bank of channel 0: (rows, columns, lanes)."""
    return np.stack([column_view(machine, bank, row + i // COLUMNS, i % COLUMNS) for i in range(rows * COLUMNS)]).reshape(
        rows, COLUMNS, LANES)


def column_view(machine: Machine, bank: int, row: int, column: int) -> Half:
    """A view of a column of a bank of channel 0, (lanes,)."""
    assert machine.preset.banks
    start = int(machine.preset.banks.address(0, bank, row, column))
    view: Half = machine.memory[start:start + 2 * LANES].view(np.float16)
    return view


def write_rows(machine: Machine, bank: int, row: int, values: Half) -> None:
    """Put values (rows, columns, lanes) into a bank of channel 0."""
    for i, lanes in enumerate(values.reshape(-1, LANES)):
        column_view(machine, bank, row + i // COLUMNS, i % COLUMNS)[:] = lanes


def numbers(random: np.random.Generator, *shape: int) -> Half:
    """fp16 between -1 and 1."""
    return random.uniform(-1, 1, shape).astype(np.float16)


# ------------------------------------------------------------------------------------------------ GEMV


def gemv(outputs: int, inputs: int, batch: int = 1, seed: int = 0) -> ValidationProgram:
    """y = W x for each of a batch, outputs as of all channels of the machine."""
    random = np.random.default_rng(seed)
    output_tiles = -(-outputs // (TILE_OUTPUTS * CHANNELS))
    input_tiles = -(-inputs // TILE_INPUTS)
    halves = (-(-input_tiles // 2), input_tiles // 2)               # input tiles in even and in odd banks
    # (halves, output tiles, input tiles of a half, blocks, groups of 16 inputs, outputs of a block, lanes)
    weights = numbers(random, 2, output_tiles, halves[0], BLOCKS, GROUP_OF_COLUMNS, GROUP_OF_COLUMNS, LANES)
    x = numbers(random, batch, input_tiles, GROUP_OF_COLUMNS, LANES)
    ordered = np.concatenate([x[:, 0::2], x[:, 1::2]], axis=1)      # as the program takes them: even tiles first
    results = 2 * halves[0] * output_tiles                          # the first row of results: 4 groups of 8 columns a row

    parts = []
    for half, count in enumerate(halves):
        if count:
            parts.append(f"""
    li      s5, {count}                     # input tiles of the {"odd" if half else "even"} banks
    mv      s6, s1
    li      s7, {half}
10: li      t1, 0
    li      t0, 8
1:  pim.wr.grf_a s4, t1
    addi    s4, s4, 32
    addi    t1, t1, 1
    bne     t1, t0, 1b
    li      s8, 2                           # two rows
11: pim.act.hab s7, s6
{columns("pim.rd.pim", "s7", "0", COLUMNS)}
    pim.pre.hab s7
    addi    s6, s6, 1
    addi    s8, s8, -1
    bnez    s8, 11b
    addi    s5, s5, -1
    bnez    s5, 10b
""")
    body = f"""
    li      s1, 0                           # row of the output tile
    li      s2, 0                           # number of the result
    li      s9, {output_tiles}
20: li      s3, {batch}
    la      s4, input
21: li      t0, 2
    pim.mode.hab_pim t0                     # from the start, GRF_B = 0
{"".join(parts)}
    li      s7, 1
    srli    s6, s2, 2
    li      t0, {results}
    add     s6, s6, t0
    pim.act.hab s7, s6
    andi    s8, s2, 3
    slli    s8, s8, 3
{columns("pim.wr.pim", "s7", "s8", GROUP_OF_COLUMNS)}
    pim.pre.hab s7
    pim.mode.hab
    addi    s2, s2, 1
    addi    s3, s3, -1
    bnez    s3, 21b
    li      t0, {2 * halves[0]}
    add     s1, s1, t0
    addi    s9, s9, -1
    bnez    s9, 20b
"""
    micro_program = ["mac grf_b[0], grf_a[0], even_bank, aam", f"jump {8 * halves[0] - 1}, 2"]
    if halves[1]:
        micro_program += ["mac grf_b[0], grf_a[0], odd_bank, aam", f"jump {8 * halves[1] - 1}, 2"]
    micro_program += ["nop 7", "exit"]

    def fill(machine: Machine) -> None:
        for half, count in enumerate(halves):
            for block in range(BLOCKS):
                for tile in range(output_tiles):
                    for number in range(count):
                        write_rows(machine, 2 * block + half, 2 * (tile * halves[0] + number), weights[half, tile, number, block])

    def check(machine: Machine) -> None:
        for tile in range(output_tiles):
            for element in range(batch):
                acc = np.zeros((BLOCKS, GROUP_OF_COLUMNS, LANES), np.float16)
                for half in range(2):
                    for number in range(halves[half]):
                        for group in range(GROUP_OF_COLUMNS):
                            product = weights[half, tile, number, :, group] * x[element, 2 * number + half, group]
                            acc = (acc + product.astype(np.float16)).astype(np.float16)
                at = tile * batch + element
                for block in range(BLOCKS):
                    row = bank_rows(machine, 2 * block + 1, results + at // 4, 1)[0]
                    expect(f"output tile {tile} of {element}, block {block}", row[8 * (at % 4):8 * (at % 4) + 8].copy(), acc[block])

    return ValidationProgram(MACHINE, program_text(micro_program, body, data_of("input", ordered)), fill, check, first=FIRST)


def tree(outputs: int, inputs: int, seed: int = 0) -> ValidationProgram:
    """GEMV whose lanes the host adds up tile by tile: the sums of each input tile are written, then GRF_B is multiplied with zeros.

    First the zeros are written to 8 columns of a row of each bank. The controller takes turns between two bank groups.
    """
    random = np.random.default_rng(seed)
    output_tiles, input_tiles = -(-outputs // (TILE_OUTPUTS * CHANNELS)), -(-inputs // TILE_INPUTS)
    pairs = -(-input_tiles // 2)
    weights = numbers(random, output_tiles, input_tiles, BLOCKS, GROUP_OF_COLUMNS, GROUP_OF_COLUMNS, LANES)
    x = numbers(random, input_tiles, GROUP_OF_COLUMNS, LANES)
    results, zeros = 2 * pairs * output_tiles, ZERO_ROW
    pairs_of_banks = [(half + bank, half + 4 + bank) for half in (0, 8) for bank in range(4)]
    opened = [f"    li t2, {bank}\n    pim.act t2, t3" for half in (0, 8) for bank in range(half, half + 8)]
    written = [f"    li t2, {bank}\n    li t1, {column}\n    pim.wr a0, t2, t1" + (
        "\n    pim.pre t2" if column == GROUP_OF_COLUMNS - 1 else "")
        for both in pairs_of_banks for column in range(GROUP_OF_COLUMNS) for bank in both]
    before = "\n".join(["    la a0, zero_column", f"    li t3, {zeros}", *opened, *written])

    def half(parity: int) -> str:
        return f"""
    li      s7, {parity}
    li      t1, 0
    li      t0, 8
1:  pim.wr.grf_a s4, t1
    addi    s4, s4, 32
    addi    t1, t1, 1
    bne     t1, t0, 1b
    li      s8, 2
    mv      s6, s1
11: pim.act.hab s7, s6
{columns("pim.rd.pim", "s7", "0", COLUMNS)}
    pim.pre.hab s7
    addi    s6, s6, 1
    addi    s8, s8, -1
    bnez    s8, 11b
    li      s7, 1                           # the sums, to odd banks
    srli    s6, s2, 2
    li      t0, {results}
    add     s6, s6, t0
    pim.act.hab s7, s6
    andi    s8, s2, 3
    slli    s8, s8, 3
{columns("pim.wr.pim", "s7", "s8", GROUP_OF_COLUMNS)}
    pim.pre.hab s7
    addi    s2, s2, 1
    li      s6, {zeros}
    pim.act.hab zero, s6
{columns("pim.rd.pim", "zero", "0", GROUP_OF_COLUMNS)}
    pim.pre.hab zero
    addi    s5, s5, -1
    beqz    s5, 21f
"""
    body = f"""
    li      s1, 0
    li      s2, 0
    li      s9, {output_tiles}
20: la      s4, input
    li      s5, {input_tiles}
    li      t0, 2
    pim.mode.hab_pim t0
10: {half(0)}{half(1)}
    addi    s1, s1, 2
    j       10b
21: li      s1, 0
    pim.mode.hab
    addi    s9, s9, -1
    bnez    s9, 20b
"""
    assert output_tiles == 1, "one output tile"
    micro_program = [line for bank in ("even_bank", "odd_bank") for line in (
        f"mac grf_b[0], grf_a[0], {bank}, aam", "jump 7, 2", "nop 7", "mul grf_b[0], grf_b[0], even_bank, aam")]
    micro_program += [f"jump {pairs - 1}, 9"] if pairs > 1 else []
    micro_program.append("exit")
    data = data_of("input", x) + "\n" + data_of("zero_column", np.zeros(LANES, np.float16))

    def fill(machine: Machine) -> None:
        for number in range(input_tiles):
            for block in range(BLOCKS):
                write_rows(machine, 2 * block + number % 2, 2 * (number // 2), weights[0, number, block])

    def check(machine: Machine) -> None:
        for number in range(input_tiles):
            acc = np.zeros((BLOCKS, GROUP_OF_COLUMNS, LANES), np.float16)
            for group in range(GROUP_OF_COLUMNS):
                acc = (acc + (weights[0, number, :, group] * x[number, group]).astype(np.float16)).astype(np.float16)
            if number:                          # 0 or -0 stays of the sums before, where they are multiplied with zeros
                acc = acc + np.float16(0)
            for block in range(BLOCKS):
                row = bank_rows(machine, 2 * block + 1, results + number // 4, 1)[0]
                found = row[8 * (number % 4):8 * (number % 4) + 8]
                expect(f"input tile {number}, block {block}", found + np.float16(0), acc[block] + np.float16(0))

    return ValidationProgram(MACHINE, program_text(micro_program, body, data, before), fill, check, first=FIRST)


# ------------------------------------------------------------------------------------------------ element by element


def elementwise(operation: str, elements: int, seed: int = 0) -> ValidationProgram:
    """add, mul or relu of vectors, elements as of all channels of the machine."""
    random = np.random.default_rng(seed)
    steps = elements // (CHANNELS * BANKS * GROUP_OF_COLUMNS * LANES)
    rows = -(-steps * GROUP_OF_COLUMNS // COLUMNS)
    sources = 1 if operation == "relu" else 2
    at = [index * rows for index in range(sources + 1)]             # first rows of the sources and of the result
    values = numbers(random, sources, BANKS, rows, COLUMNS, LANES)
    parts, micro_program = [], []
    for parity, (bank, register) in enumerate((("even_bank", "grf_a"), ("odd_bank", "grf_b"))):
        relu = ", relu" if operation == "relu" else ""
        micro_program.append(f"fill {register}[0], {bank}{relu}")
        if sources == 2:
            micro_program.append(f"{operation} {register}[0], {register}[0], {bank}, aam")
        micro_program.append("nop 7")
        parts.append(f"    li      s7, {parity}\n")
        for index, row in enumerate(at):
            parts.append(f"""
    li      t2, {row}
    add     t2, t2, s1
    pim.act.hab s7, t2
{columns("pim.wr.pim" if index == sources else "pim.rd.pim", "s7", "s2", GROUP_OF_COLUMNS)}
    pim.pre.hab s7
""")
    micro_program += [f"jump {steps - 1}, {len(micro_program) + 1}"] if steps > 1 else []
    micro_program.append("exit")
    body = f"""
    pim.mode.hab_pim zero
    li      s3, {steps}
    li      s4, 0
20: srli    s1, s4, 2                       # row, and first column
    andi    s2, s4, 3
    slli    s2, s2, 3
{"".join(parts)}
    addi    s4, s4, 1
    bne     s4, s3, 20b
    pim.mode.hab
"""

    def fill(machine: Machine) -> None:
        for bank in range(BANKS):
            for source in range(sources):
                write_rows(machine, bank, at[source], values[source, bank])

    def check(machine: Machine) -> None:
        used = steps * GROUP_OF_COLUMNS
        for bank in range(BANKS):
            a = values[:, bank].reshape(sources, -1, LANES)[:, :used]
            result = np.where(np.signbit(a[0]), np.float16(0), a[0]) if operation == "relu" else (
                a[0] + a[1] if operation == "add" else a[0] * a[1])
            expect(f"bank {bank}", bank_rows(machine, bank, at[-1], rows).reshape(-1, LANES)[:used], result.astype(np.float16))

    return ValidationProgram(MACHINE, program_text(micro_program, body), fill, check, first=FIRST)


def matrix_of(point: Point) -> tuple[int, int]:
    """(outputs, inputs) of a point. Raises Inexpressible for a matrix whose rows do not lie below the one that parks read."""
    outputs, inputs = point.size("outputs", MOST), point.size("inputs", MOST)
    rows = 2 * -(-outputs // (TILE_OUTPUTS * CHANNELS)) * -(-inputs // (2 * TILE_INPUTS))
    if rows > MOST_ROWS:
        raise Inexpressible(f"outputs {outputs}, inputs {inputs}: {rows} rows of a bank; expected {MOST_ROWS} at most")
    return outputs, inputs


def program_of(point: Point) -> ValidationProgram | None:
    """The program of a workload of the published table, None if there is none. Raises Inexpressible for other sizes."""
    if point.workload == "gemv":
        batch = point.size("batch", 16) if "batch" in point.parameters else 1
        return gemv(*matrix_of(point), batch)
    if point.workload == "tree":
        return tree(point.size("outputs", TILE_OUTPUTS * CHANNELS), point.size("inputs", 8 * TILE_INPUTS, of=TILE_INPUTS))
    if point.workload in ("add", "mul", "relu"):
        return elementwise(point.workload, point.size("elements", 1 << 26, of=CHANNELS * BANKS * GROUP_OF_COLUMNS * LANES))
    return None
