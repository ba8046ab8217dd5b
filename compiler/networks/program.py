"""The whole program of a network: for each image that the host gives, all operations, and the class with the largest logit.

The host answers READ_TOKEN with the number of an image that it has put to `image`, and takes the class as a token; then `logits`
has what it was chosen from. Code and constants lie in flash, values in sram; the stack, which nothing uses, in dram.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from asm import AssemblyError, assemble
from compiler.errors import RoomError, most
from compiler.networks.code import DATA, PROGRAM, Code
from compiler.networks.graph import Graph
from compiler.networks.lowering import Lowering
from compiler.networks.plan import Plan, plan, stack_bytes
from compiler.networks.steps import Network, elements
from isa.preset import Preset, load_preset
from isa.program import Program
from isa.regions import FLASH
from isa.services import EMIT_TOKEN, EXIT, READ_TOKEN

MACHINE = "stm32f746"
PAGE = 4096             # constants begin on one


@dataclass(frozen=True)
class CompiledNetwork:
    """A program, and what it is made from."""

    network: Network
    graph: Graph
    plan: Plan
    machine: Preset
    text: str               # assembly
    data: bytes             # constants

    @cached_property
    def program(self) -> Program:
        """Assembled. Raises RoomError where it has no room in flash."""
        program = assemble(self.text, machine=self.machine)
        section = program.section(DATA)
        assert section is not None
        section.chunks, section.zero_size = [self.data], 0
        return program

    @property
    def image(self) -> tuple[int, int, int]:
        """Lines, pixels and channels."""
        return self.network.image

    @property
    def outputs(self) -> int:
        """How many logits there are."""
        return self.graph.outputs

    @property
    def flash_bytes(self) -> int:
        """Code and constants, from the start of flash to their end."""
        ends = [section.end for section in self.program.sections if section.name in (PROGRAM, DATA)]
        return max(ends) - self.machine.region(FLASH).base

    @property
    def ram_bytes(self) -> int:
        """Values and work space, and the stack."""
        return self.plan.bytes + stack_bytes(self.machine)

    def as_json(self) -> dict[str, int | str]:
        """What "memory" has."""
        text = self.program.section(PROGRAM)
        return {"flash_bytes": self.flash_bytes, "program_bytes": text.size if text else 0, "constant_bytes": len(self.data),
                "ram_bytes": self.ram_bytes, "value_bytes": self.plan.bytes, "stack_bytes": stack_bytes(self.machine),
                "busiest": self.plan.busiest}


def compile_network(network: Network, machine: Preset | str = MACHINE, dense: bool = False) -> CompiledNetwork:
    """`dense`: weights with zeros are stored as dense ones, too. Raises ModelError, RoomError."""
    preset = load_preset(machine) if isinstance(machine, str) else machine
    _check_machine(network, preset)
    graph = Graph(network)
    where = plan(graph, preset)
    code = Code(preset.region("sram").base)
    _begin(code, where)
    Lowering(graph, where, code, dense).all()
    _end(code, graph, where)
    compiled = CompiledNetwork(network, graph, where, preset, _text(code, len(code.data)), bytes(code.data))
    room, size = preset.region(FLASH).size, _flash_bytes(code, preset)
    if size > room:
        sizes = {step.name: elements(step) if dense and step.kind != "layer_norm" else len(step["weight"])
                 for step in network.steps if step.fields.get("weight") is not None}
        largest = max(sizes, key=lambda name: sizes[name]) if sizes else network.steps[0].name
        raise RoomError(network.path, largest, region=FLASH, got=f"{size:,} bytes of code and constants",
                        expected=f"at most {room:,}, the flash of {preset.name}",
                        hint=f"{most(sizes)}; a machine with flash.size = {-(-size // 4096) * 4096:,} would do, or fewer weights, "
                             "or more zeros among them")
    return compiled


def _text(code: Code, data: int) -> str:
    return "\n".join([*code.lines, f"    .section {DATA}, \"a\"", "    .balign 16", f"data: .zero {data}", ""])


def _flash_bytes(code: Code, machine: Preset) -> int:
    """Bytes of code and constants, also where they have no room: how long code is does not depend on where constants lie."""
    try:
        section = assemble("\n".join([*code.lines, "data: .zero 1", ""]), machine=machine).section(PROGRAM)
        text = section.size if section else 0
    except AssemblyError:
        text = sum(len(line.split(";")) for line in code.lines) * 16            # more than it is
    return -(-text // PAGE) * PAGE + len(code.data)


def _check_machine(network: Network, machine: Preset) -> None:
    for region in ("sram", FLASH):
        if region not in {one.name for one in machine.regions}:
            raise RoomError(network.path, "", region=region, got=f"machine {machine.name} has no {region}",
                            expected="a machine with sram and flash", hint=f"slimulator machines {MACHINE}")
    needed = {"vec", "fetch", "sync"} | ({"sp"} if any(step.fields.get("block") for step in network.steps) else set())
    for unit in sorted(needed):
        if not machine.has_unit(unit):
            raise RoomError(network.path, "", region="sram", got=f"machine {machine.name} has no {unit} unit",
                            expected=f"a machine with {', '.join(sorted(needed))}")


def _begin(code: Code, where: Plan) -> None:
    code.lines += [f"    .equ image, {code.ram(where.values[0]):#x}", f"    .section {PROGRAM}, \"ax\"", "    .globl _start",
                   "_start:"]
    code.label("next_image", "the host puts an image to its place, and gives its number")
    code.line(f"li a7, {READ_TOKEN};  ecall;  bgez a0, infer")
    code.line(f"li a0, 0;  li a7, {EXIT};  ecall")
    code.label("infer")


def _end(code: Code, graph: Graph, where: Plan) -> None:
    """The class with the largest logit, of several the first."""
    logits = code.ram(where.values[graph.output.value] + graph.output.offset)
    code.fence()
    code.label("choose", "the first of the largest logits")
    code.line(f"li t0, {logits};  li t1, {graph.outputs};  li t2, 0;  li t3, -129;  li a0, 0")
    code.lines.append("1:")
    code.line("lb t4, 0(t0);  ble t4, t3, 2f;  mv t3, t4;  mv a0, t2")
    code.lines.append("2:")
    code.line("addi t0, t0, 1;  addi t2, t2, 1;  blt t2, t1, 1b")
    code.line(f"li a7, {EMIT_TOKEN};  ecall;  j next_image")
    code.lines.insert(0, f"    .equ logits, {logits:#x}")
