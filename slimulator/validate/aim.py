"""The workloads of aim_simulator as macro forms of our pim unit: GEMV in its order of loops, and the forms one by one.

Every channel does the same: a matrix of 512 rows is a tile, one row of it for each of 16 banks in 32 channels. The columns that do
not fit a row of a bank, 64 columns of 16 numbers, are a further row each; then the input is written to the global buffers anew for
each tile and row. The same weights lie in all channels, so that a check needs those of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from emulator.machine import Machine
from slimulator.validate.points import Inexpressible
from slimulator.validate.program import Fill, ValidationProgram, expect

SIMULATOR = "aim_simulator"
MACHINE = "gddr6-aim"
CHANNELS, BANKS, COLUMNS, LANES, ROW_BYTES = 32, 16, 64, 16, 2048
ROWS, TIMES = 1024, 1024      # at most: the rows of a program are filled with numbers
BEHIND = 2      # aim_simulator decodes a form a cycle before its first command, and sees a cycle later that all is done

Half = npt.NDArray[np.float16]


# ------------------------------------------------------------------------------------------------ what the banks compute


def _mac(acc: Half, weights: Half, x: Half) -> Half:
    """acc (.., lanes) after a run: weights (.., columns, lanes) times x (columns, lanes), product and sum rounded."""
    for column in range(x.shape[0]):
        acc = (acc + (weights[..., column, :] * x[column]).astype(np.float16)).astype(np.float16)
    return acc


def _folded(acc: Half) -> Half:
    """(.., 16) -> (..): lane j + lane j + half, each sum rounded."""
    while acc.shape[-1] > 1:
        half = acc.shape[-1] // 2
        acc = (acc[..., :half] + acc[..., half:]).astype(np.float16)
    return acc[..., 0]


def _numbers(random: np.random.Generator, *shape: int) -> Half:
    return random.uniform(-1, 1, shape).astype(np.float16)


def _row(machine: Machine, channel: int, bank: int, row: int, rows: int = 1) -> Half:
    """A view of rows of a bank: (rows, columns, lanes)."""
    start = int(machine.preset.banks.address(channel, bank, row, 0)) if machine.preset.banks else 0
    return machine.memory[start:start + rows * ROW_BYTES].view(np.float16).reshape(rows, COLUMNS, LANES)


def _fill_rows(rows: Half) -> Fill:
    """Rows (banks, rows, columns, lanes) into the banks of every channel."""
    def fill(machine: Machine) -> None:
        for channel in range(CHANNELS):
            for bank in range(BANKS):
                _row(machine, channel, bank, 0, rows.shape[1])[:] = rows[bank]
    return fill


# ------------------------------------------------------------------------------------------------ text


def _data(name: str, values: Half) -> str:
    numbers = values.reshape(-1).view(np.uint16).tolist()
    lines = [".half " + ", ".join(map(str, numbers[at:at + 32])) for at in range(0, len(numbers), 32)]
    return "\n".join([".balign 32", f"{name}:", *lines])


def _text(forms: list[str], data: str = "", room: int = 32) -> str:
    """A program of these forms. `output` has room for so many bytes; s1 points to it."""
    lines = [f".machine {MACHINE}", ".section .data", data, ".section .bss", ".balign 32", f"output: .zero {room}",
             ".section .text", ".globl _start", "_start:", "li t0, 0xffffffff", "csrw pim.channel_mask, t0", "la s1, output",
             *forms, "sync.fence", "li a0, 0", "li a7, 93", "ecall"]
    return "\n".join(lines) + "\n"


def _program(forms: list[str], data: str, room: int, fill: Fill, check: Fill) -> ValidationProgram:
    return ValidationProgram(MACHINE, _text(forms, data, room), fill, check, behind=BEHIND)


def _nothing(machine: Machine) -> None:
    """No data but that of the program."""


def _output(machine: Machine, *shape: int) -> Half:
    return np.array(machine.tensor("output", f"f16[{int(np.prod(shape))}]")).reshape(shape)


# ------------------------------------------------------------------------------------------------ workloads


def gemv(outputs: int, inputs: int, seed: int = 0) -> ValidationProgram:
    """y = W x in fp16: WR_GB, then for each 512 outputs WR_BIAS, MAC_ABK, RD_MAC; WR_GB before each MAC_ABK if x has more rows."""
    random = np.random.default_rng(seed)
    tiles, columns = -(-outputs // (CHANNELS * BANKS)), -(-inputs // LANES)
    chunks = [min(COLUMNS, columns - at) for at in range(0, columns, COLUMNS)]
    x = _numbers(random, columns, LANES)
    x.reshape(-1)[inputs:] = 0
    bias = _numbers(random, CHANNELS * BANKS)
    rows = _numbers(random, BANKS, tiles * len(chunks), COLUMNS, LANES)

    def load(chunk: int) -> list[str]:
        return [f"la a0, x + {chunk * COLUMNS * 32}", f"li a1, {chunks[chunk]}", "pim.wr_gb a0, a1"]

    forms = load(0) if len(chunks) == 1 else []
    for tile in range(tiles):
        forms += ["la a2, bias", "pim.wr_bias.f16 a2"]
        for chunk, size in enumerate(chunks):
            forms += load(chunk) if len(chunks) > 1 else []
            forms += [f"li a1, {size}", f"li a3, {tile * len(chunks) + chunk}", "pim.mac_abk.f16 a1, a3"]
        forms += ["pim.rd_mac.f16 s1", f"addi s1, s1, {2 * CHANNELS * BANKS}"]

    def check(machine: Machine) -> None:
        y = _output(machine, tiles, CHANNELS, BANKS)
        for tile in range(tiles):
            acc = np.zeros((CHANNELS, BANKS, LANES), np.float16)
            acc[..., 0] = bias.reshape(CHANNELS, BANKS)
            for chunk, size in enumerate(chunks):
                part = rows[:, tile * len(chunks) + chunk, :size]
                at = chunk * COLUMNS
                acc = _mac(acc, np.broadcast_to(part, (CHANNELS, *part.shape)), x[at:at + size])
            expect(f"tile {tile}", y[tile], _folded(acc))

    return _program(forms, _data("x", x) + "\n" + _data("bias", bias), 2 * tiles * CHANNELS * BANKS, _fill_rows(rows), check)


def macs_in_all(columns: int, rows: list[int], seed: int = 0) -> ValidationProgram:
    """MAC_ABK after MAC_ABK, on these rows; the accumulators are read by the check alone."""
    random = np.random.default_rng(seed)
    held = _numbers(random, BANKS, max(rows) + 1, COLUMNS, LANES)
    x = _numbers(random, COLUMNS, LANES)

    def fill(machine: Machine) -> None:
        _fill_rows(held)(machine)
        machine.state["pim.global_buffer"].reshape(CHANNELS, -1)[:] = x.reshape(-1).view(np.uint8)

    def check(machine: Machine) -> None:
        acc = np.zeros((BANKS, LANES), np.float16)
        for row in rows:
            acc = _mac(acc, held[:, row, :columns], x)
        got = machine.state["pim.accumulators"].astype(np.uint16).view(np.float16).reshape(CHANNELS, BANKS, LANES)
        expect("accumulators", got, np.broadcast_to(acc, got.shape).copy())

    x = x[:columns]
    x = np.concatenate([x, np.zeros((COLUMNS - columns, LANES), np.float16)])
    forms = [line for row in rows for line in (f"li a1, {columns}", f"li a3, {row}", "pim.mac_abk.f16 a1, a3")]
    return _program(forms, "", 32, fill, check)


def macs_in_banks(columns: int, rows: int, seed: int = 0) -> ValidationProgram:
    """MAC_SBK in one bank after the other, row by row."""
    random = np.random.default_rng(seed)
    held = _numbers(random, BANKS, rows, COLUMNS, LANES)
    x = _numbers(random, COLUMNS, LANES)

    def fill(machine: Machine) -> None:
        _fill_rows(held)(machine)
        machine.state["pim.global_buffer"].reshape(CHANNELS, -1)[:] = x.reshape(-1).view(np.uint8)

    def check(machine: Machine) -> None:
        acc = np.zeros((BANKS, LANES), np.float16)
        for row in range(rows):
            acc = _mac(acc, held[:, row, :columns], x[:columns])
        got = machine.state["pim.accumulators"].astype(np.uint16).view(np.float16).reshape(CHANNELS, BANKS, LANES)
        expect("accumulators", got, np.broadcast_to(acc, got.shape).copy())

    forms = [line for row in range(rows) for bank in range(BANKS)
             for line in (f"li a1, {columns}", f"li a2, {bank}", f"li a3, {row}", "pim.mac_sbk.f16 a1, a2, a3")]
    return _program(forms, "", 32, fill, check)


def products(columns: int, rows: int, seed: int = 0) -> ValidationProgram:
    """EWMUL row by row: in each bank group, bank 2 = bank 0 * bank 1."""
    held = _numbers(np.random.default_rng(seed), BANKS, rows, COLUMNS, LANES)

    def check(machine: Machine) -> None:
        for group in range(0, BANKS, 4):
            product = (held[group, :, :columns] * held[group + 1, :, :columns]).astype(np.float16)
            for channel in range(CHANNELS):
                found = _row(machine, channel, group + 2, 0, rows)[:, :columns].copy()
                expect(f"bank {group + 2} of channel {channel}", found, product)

    forms = [line for row in range(rows) for line in (f"li a1, {columns}", f"li a3, {row}", "pim.ewmul.f16 a1, a3")]
    return _program(forms, "", 32, _fill_rows(held), check)


def biases(times: int, seed: int = 0) -> ValidationProgram:
    """WR_BIAS after WR_BIAS."""
    bias = _numbers(np.random.default_rng(seed), CHANNELS * BANKS)

    def check(machine: Machine) -> None:
        got = machine.state["pim.accumulators"].astype(np.uint16).reshape(CHANNELS * BANKS, LANES)
        expect("accumulators", got[:, 0].copy(), bias.view(np.uint16))
        expect("other accumulators", got[:, 1:].copy(), np.zeros((CHANNELS * BANKS, LANES - 1), np.uint16))

    return _program(["la a2, bias", *["pim.wr_bias.f16 a2"] * times], _data("bias", bias), 32, _nothing, check)


def buffers(columns: int, times: int, seed: int = 0) -> ValidationProgram:
    """WR_GB after WR_GB."""
    x = _numbers(np.random.default_rng(seed), columns, LANES)

    def check(machine: Machine) -> None:
        got = machine.state["pim.global_buffer"].reshape(CHANNELS, -1)[:, :columns * 32].copy()
        expect("global buffers", got, np.broadcast_to(x.reshape(-1).view(np.uint8), got.shape).copy())

    return _program(["la a0, x", f"li a1, {columns}", *["pim.wr_gb a0, a1"] * times], _data("x", x), 32, _nothing, check)


def activations(columns: int, times: int, seed: int = 0) -> ValidationProgram:
    """WR_BIAS, MAC_ABK, AF, RD_AF, each time in a further row. The table is a constant, whatever its argument."""
    random = np.random.default_rng(seed)
    held, x = _numbers(random, BANKS, times, COLUMNS, LANES), _numbers(random, COLUMNS, LANES)
    bias = _numbers(random, CHANNELS * BANKS)
    constant = np.float16(1.5)

    def fill(machine: Machine) -> None:
        _fill_rows(held)(machine)
        machine.state["pim.global_buffer"].reshape(CHANNELS, -1)[:] = x.reshape(-1).view(np.uint8)
        machine.state["pim.af_tables"][:1024] = constant.view(np.uint16)

    def check(machine: Machine) -> None:
        y = _output(machine, times, CHANNELS, BANKS)
        expect("activations", y, np.full_like(y, constant))
        acc = np.zeros((CHANNELS, BANKS, LANES), np.float16)
        acc[..., 0] = bias.reshape(CHANNELS, BANKS)
        acc = _mac(acc, np.broadcast_to(held[:, -1, :columns], (CHANNELS, BANKS, columns, LANES)), x[:columns])
        expect("accumulators", machine.state["pim.accumulators"].astype(np.uint16).view(np.float16).reshape(acc.shape), acc)

    forms = [line for row in range(times) for line in (
        "la a2, bias", "pim.wr_bias.f16 a2", f"li a1, {columns}", f"li a3, {row}", "pim.mac_abk.f16 a1, a3", "li a4, 0",
        "pim.af.f16 a4", "pim.rd_af s1", f"addi s1, s1, {2 * CHANNELS * BANKS}")]
    return _program(forms, _data("bias", bias), 2 * times * CHANNELS * BANKS, fill, check)


def copies(times: int, seed: int = 0) -> ValidationProgram:
    """WR_GB, COPY_GBBK to a row of bank 0, COPY_BKGB from a row of bank 1, each time in a further row."""
    random = np.random.default_rng(seed)
    held, x = _numbers(random, BANKS, times, COLUMNS, LANES), _numbers(random, COLUMNS, LANES)

    def check(machine: Machine) -> None:
        for channel in range(CHANNELS):
            expect("bank 0", _row(machine, channel, 0, 0, times).copy(), np.broadcast_to(x, (times, *x.shape)).copy())
        got = machine.state["pim.global_buffer"].reshape(CHANNELS, -1)
        expect("global buffers", got.copy(), np.broadcast_to(held[1, -1].reshape(-1).view(np.uint8), got.shape).copy())

    forms = [line for row in range(times) for line in (
        "la a0, x", f"li a1, {COLUMNS}", "pim.wr_gb a0, a1", "li a2, 0", f"li a3, {row}", "pim.copy_gbbk a1, a2, a3", "li a2, 1",
        "pim.copy_bkgb a1, a2, a3")]
    return _program(forms, _data("x", x), 32, _fill_rows(held), check)


def writes_to_all(rows: int, seed: int = 0) -> ValidationProgram:
    """WR_ABK: the same column to a row of all banks, row by row."""
    x = _numbers(np.random.default_rng(seed), LANES)

    def check(machine: Machine) -> None:
        for channel in range(CHANNELS):
            for bank in range(BANKS):
                expect(f"bank {bank}", _row(machine, channel, bank, 0, rows)[:, 0].copy(), np.broadcast_to(x, (rows, LANES)).copy())

    forms = ["la a0, x", *(line for row in range(rows) for line in (f"li a3, {row}", "pim.wr_abk a0, a3"))]
    return _program(forms, _data("x", x), 32, _nothing, check)


# ------------------------------------------------------------------------------------------------ by name

_Limits = tuple[int, ...]
_WORKLOADS: tuple[tuple[str, _Limits, Callable[..., ValidationProgram]], ...] = (
    (r"gemv (\d+)x(\d+)",                          (1 << 18, 1 << 18), gemv),
    (r"mac_abk (\d+) x (\d+) rows",                (COLUMNS, ROWS),    lambda columns, rows: macs_in_all(columns, [*range(rows)])),
    (r"mac_abk (\d+) x (\d+) same row",            (COLUMNS, TIMES),   lambda columns, times: macs_in_all(columns, [0] * times)),
    (r"mac_sbk (\d+) x 16 banks x (\d+) rows",     (COLUMNS, ROWS),    macs_in_banks),
    (r"ewmul (\d+) x (\d+)",                       (COLUMNS, ROWS),    products),
    (r"wr_bias x (\d+)",                           (TIMES,),           biases),
    (r"wr_gb (\d+) x (\d+)",                       (COLUMNS, TIMES),   buffers),
    (r"bias mac af rd_af x (\d+)",                 (ROWS,),            lambda times: activations(COLUMNS, times)),
    (r"bias mac af rd_af (\d+) cols x (\d+)",      (COLUMNS, ROWS),    activations),
    (r"copy gb->bank->gb x (\d+)",                 (ROWS,),            copies),
    (r"wr_abk x (\d+) rows",                       (ROWS,),            writes_to_all),
)


def program_of(workload: str) -> ValidationProgram | None:
    """The program of a workload by its name in the published table, None if there is none. Raises Inexpressible for other sizes."""
    for pattern, limits, build in _WORKLOADS:
        if found := re.fullmatch(pattern, workload):
            for text, most in zip(found.groups(), limits, strict=True):
                if len(text) > 9 or not 1 <= int(text) <= most:
                    raise Inexpressible(f"{text} in {workload!r}; expected 1 to {most}")
            sizes = [*map(int, found.groups())]
            if build is gemv and (rows := -(-sizes[0] // (CHANNELS * BANKS)) * -(-sizes[1] // (COLUMNS * LANES))) > ROWS:
                raise Inexpressible(f"{rows} rows of a bank in {workload!r}; expected {ROWS} at most")
            return build(*sizes)
    return None
