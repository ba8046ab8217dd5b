"""Figures of time and energy in machine files: exact, whole, sourced; and what is refused."""

from __future__ import annotations

import ast
import inspect
import math
import random
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from textwrap import dedent

import pytest
from machine_files import without_figures, without_unit

from isa.counters import COUNTERS
from isa.manual import machine_answer
from isa.manual.document import plain
from isa.preset import PRESETS, PresetError, load_preset, preset_names, preset_of
from isa.regions import REGIONS
from isa.timing.attention import PLACEMENTS
from isa.timing.bank_state import FIGURES as BANK_FIGURES
from isa.timing.figures import rates_of, spending_of, standing_of
from isa.timing.memories import MEMORIES, AttentionDram, Dram, Nand, PimDram, memories_of
from isa.timing.rates import MOST_PART, RULES, exact, fits, is_rule, rule, scaled
from isa.unit import Counter, spending
from isa.units import UNITS

SLIM = (PRESETS / "slim.toml").read_text(encoding="utf-8")
BARE = without_figures(SLIM)


def load(folder: Path, text: str):
    (folder / "m.toml").write_text(text, encoding="utf-8")
    return load_preset(folder / "m.toml")


# ---------------------------------------------------------------------------------------------------- what machines give


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_machine_has_every_figure_with_its_source(name: str) -> None:
    machine = load_preset(name)
    file = machine.file
    assert machine.rates is not None and machine.energies is not None and machine.powers is not None
    assert {n for n in machine.rates if n.partition(".")[0] not in REGIONS} == {*rates_of(file.unit)} == {*file.rates}
    assert {n for n in machine.rates if n.partition(".")[0] in REGIONS} == {
        f"{each}.{key}" for each, table in file.region.items() if not table.memory for key in ("latency_cycles", "bytes_per_cycle")}
    assert [*machine.energies] == [*spending_of(file.unit, file.region)] and {*machine.energies} == {*file.energy}
    assert [*machine.powers] == [*standing_of(file.unit, file.region)] and {*machine.powers} == {*file.power}
    assert all(rate > 0 for rate in machine.rates.values())
    text = plain(machine_answer(machine).blocks, 10_000)
    for key, figure in (*((f"energy.{n}", f) for n, f in file.energy.items()), *((f"power.{n}", f) for n, f in file.power.items()),
                        *((f"core.rates.{n}", f) for n, f in file.core.rates.items()),
                        *((f"unit.{u}.rates.{n}", f) for u, table in file.unit.items() for n, f in table.rates.items())):
        line, = re.findall(rf"^ *{re.escape(key)}  .*$", text, re.MULTILINE)
        assert line.rstrip().endswith(figure.source) and len(figure.source) > len("assumed: "), key
    assert "Not modelled" not in text


def test_shipped_figures_that_follow_from_published_ones() -> None:
    llama, aim, hbm3 = (load_preset(name) for name in ("slim-llama", "gddr6-aim", "hbm3-pim"))
    steps = llama.energies["lut.steps"] + 2 * llama.energies["lut.index_toggles"]       # half of four bits of an index switch
    assert float(steps) * 1e-12 * 4096 * 25e6 == pytest.approx(4.69e-3, rel=1e-3)       # W at 25 MHz, a step of each S-LUT a cycle
    steps_per_cycle = llama.rates["lut.steps_per_cycle"] * llama.parameter("lut.cores")
    assert steps_per_cycle * 3 * 2 * llama.clock_hz == pytest.approx(4.92e12, rel=2e-3)                         # 3 MACs a step
    assert llama.rates["dram.bytes_per_cycle"] * llama.clock_hz == 1_600_000_000
    mac16 = 256 * aim.energies["pim.macs"] + 16 * aim.energies["pim.columns_read"]
    assert float(mac16) == pytest.approx(3 * 438.15 * 1.0, rel=1e-4)
    assert float(32 * aim.energies["pim.bytes_left"]) == pytest.approx(438.15 * 1.25 + 256 * 5.5, rel=1e-3)
    assert float(hbm3.energies["hbm.bytes_read"]) == pytest.approx(8 * 3.59)
    in_the_bank = hbm3.energies["pim.columns_read"] / 256 + hbm3.energies["pim.activations"] / 8192
    assert float(in_the_bank) == pytest.approx(0.55)


def test_a_machine_without_figures_is_not_modelled(tmp_path: Path) -> None:
    machine = load(tmp_path, BARE)
    assert (machine.rates, machine.energies, machine.powers) == (None, None, None)
    assert "Not modelled: time and energy." in plain(machine_answer(machine).blocks, 200)
    only_time = load(tmp_path, re.sub(r"^\[(energy|power)\].*\n(?:.+\n)*", "", SLIM, flags=re.MULTILINE))
    assert only_time.rates == load_preset("slim").rates and only_time.energies is None
    assert "Not modelled: energy." in plain(machine_answer(only_time).blocks, 200)


def test_figures_are_the_decimals_of_the_file(tmp_path: Path) -> None:
    machine = load_preset("slim")
    assert machine.rates["dram.bytes_per_cycle"] == Fraction(192, 5) and machine.period == 1000
    assert machine.energies["vec.elements"] == Fraction(167, 100)
    assert load_preset("hbm3-pim").period == Fraction(10_000, 13)
    other = load(tmp_path, SLIM.replace("rates.taken_branch_cycles    = { value = 2", "rates.taken_branch_cycles = { value = 0.1"))
    assert other.rates["core.taken_branch_cycles"] == Fraction(1, 10)
    again = preset_of(other.file.model_dump(mode="json"))
    assert (again.rates, again.energies, again.powers) == (other.rates, other.energies, other.powers)


def test_figures_of_whole_cycles_and_entries_are_integers() -> None:
    for name in preset_names():
        for rate in rates_of(load_preset(name).file.unit).values():
            if rate.whole:
                assert load_preset(name).rates[rate.name].denominator == 1


# ---------------------------------------------------------------------------------------------------- what is refused

def line(start: str) -> str:
    """The first line of the file that starts so."""
    found = re.search(rf"^{re.escape(start)}.*\n", SLIM, re.MULTILINE)
    assert found, start
    return found[0]


def valued(start: str, value: str) -> tuple[str, str]:
    """The first line that starts so, and the same with another value."""
    return line(start), re.sub(r"value = [^,]+,", f"value = {value},", line(start))


VEC, EVENT, WATTS = line("rates.elements_per_cycle"), line('"lut.steps"'), line("lut ")
FIGURE = '{ value = 1, source = "assumed: for a test" }'


def memory(region: str, name: str) -> tuple[str, str]:
    """A region's heading, and the same with the name of a memory below it."""
    return f"[region.{region}]", f'[region.{region}]\nmemory = {{ value = "{name}", source = "assumed: for a test" }}'


REFUSED = {
    "a rate of zero": (*valued("rates.elements_per_cycle", "0"),
                       "unit.vec.rates.elements_per_cycle.value: got 0; expected a number, greater than 0"),
    "a rate below zero": (*valued("rates.elements_per_cycle", "-2.5"), "got -2.5; expected a number, greater than 0"),
    "a rate without end": (*valued("rates.elements_per_cycle", "inf"), "got inf; expected a number, greater than 0"),
    "no number": (*valued("rates.elements_per_cycle", "nan"), "got nan; expected a number, greater than 0"),
    "a truth": (*valued("rates.elements_per_cycle", "true"), "got True; expected a number, greater than 0"),
    "a text": (*valued("rates.elements_per_cycle", '"16"'), "got '16'; expected a number, greater than 0"),
    "more digits than exact time has": (*valued("rates.elements_per_cycle", "0.3333333333333333"),
                                        "got 0.3333333333333333; expected a number of at most 12 digits"),
    "a rate too large": (*valued("rates.elements_per_cycle", str(1 << 40)), "of two integers below 1099511627776"),
    "a rate of thousands of digits": (*valued("rates.elements_per_cycle", "9" * 4000), "of two integers below 1099511627776"),
    "a rate without source": (VEC, "rates.elements_per_cycle = { value = 16 }\n", "rates.elements_per_cycle.source: missing"),
    "an unknown rate": ("rates.elements_per_cycle ", "rates.element_per_cycle ",
                        "unit.vec.rates: unknown rate 'element_per_cycle'; expected one of start_cycles, queue_depth, "),
    "a rate of another unit": (VEC, f"{VEC}rates.steps_per_cycle = {FIGURE}\n", "unit.vec.rates: unknown rate 'steps_per_cycle'"),
    "an unknown rate of the core": ("rates.division_cycles ", "rates.divisoin_cycles ", "hint: did you mean 'division_cycles'?"),
    "a missing rate": (VEC, "", "rates: 1 of 41 figures are missing; expected also unit.vec.rates.elements_per_cycle; or none"),
    "a missing rate of the core": (line("rates.service_cycles"), "", "are missing; expected also core.rates.service_cycles; or"),
    "part of a queue": (*valued("rates.queue_depth", "2.5"), "unit.vec.rates.queue_depth.value: got 2.5; expected an integer from "
                        "1 to 4096: operations that the queue holds"),
    "a queue without end": (*valued("rates.queue_depth", "4097"), "got 4097; expected an integer from 1 to 4096"),
    "half a cycle of start": (*valued("rates.start_cycles", "0.5"), "got 0.5; expected an integer from 1 to 1048576"),
    "a core of another name": ("[core]", "[cores]", "cores: unknown key 'cores'"),
    "energy of nothing": (EVENT, EVENT.replace("lut.steps", "lut.stepz"),
                          "energy: unknown counter that spends energy 'lut.stepz'; expected one of core.instructions, "),
    "energy of a counter that spends none": (EVENT, f'{EVENT}"vec.ops" = {FIGURE}\n',
                                             "unknown counter that spends energy 'vec.ops'"),
    "energy without quotes": (EVENT, EVENT.replace('"', "", 2), 'expected the name in quotes: "lut.steps" = { value = ..., source'),
    "energy below zero": (*valued('"lut.steps"', "-0.03"), "got -0.03; expected a number, 0 or more"),
    "a missing energy": (EVENT, "", 'energy: 1 of 37 figures are missing; expected also "lut.steps"; or none at all'),
    "a missing power": (WATTS, "", 'power: 1 of 13 figures are missing; expected also "lut"; or none at all'),
    "power of nothing": (WATTS, WATTS.replace("lut", "lud"), "unknown part that stands 'lud'; expected one of core, vec, "),
    "power of what never stands": (WATTS, f"{WATTS}sync = {FIGURE}\n", "unknown part that stands 'sync'"),
    "a clock that is too fast": (*valued("clock_hz", str(1 << 40)), "clock_hz.value: got 1099511627776; expected less than"),
    "no bandwidth": ("bytes_per_cycle = { value = 38.4", "#", "region.dram.bytes_per_cycle: missing; expected bytes_per_cycle = "
                     '{ value = ..., source = "..." }, or memory = ... with one of DDR4-2400, '),
    "a bandwidth of zero": (*valued("bytes_per_cycle", "0.0"), "got 0.0; expected a number, greater than 0"),
    "a latency of years": (*valued("latency_cycles", str(1 << 40)), "region.mmio.latency_cycles.value: got 1099511627776"),
    "channels of no memory": ("[region.dram]", f"[region.dram]\nchannels = {FIGURE}",
                              "channels: present; expected it beside the name of a memory, and only there"),
    "a memory and a latency": (*memory("dram", "HBM2"),
                               "region.dram.latency_cycles: present; expected no such figure: region.dram.memory gives the times"),
    "an unknown memory": (*memory("dram", "DDR4-2440"), "did you mean 'DDR4-2400'?"),
    "flash as DRAM": (*memory("dram", "nand-slc"),
                      "region.dram.memory.value: unknown memory 'nand-slc'; expected one of DDR4-2400, "),
    "a memory for the scratchpad": (*memory("sram", "HBM2"), "region.sram.memory: present; expected it for dram, hbm and flash"),
}


@pytest.mark.parametrize(("old", "new", "says"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_figure_is_refused_in_one_message(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in SLIM
    with pytest.raises(PresetError) as caught:
        load(tmp_path, SLIM.replace(old, new, 1))
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'm.toml'}: error: ")


def test_figures_of_a_unit_that_is_not_there_are_refused(tmp_path: Path) -> None:
    text = SLIM[:SLIM.index("[unit.lut]")] + SLIM[SLIM.index("[unit.sp]"):]
    with pytest.raises(PresetError) as caught:
        load(tmp_path, text.replace('"lut", ', ""))
    assert not load(tmp_path, without_unit(SLIM, "lut")).has_unit("lut")
    assert {problem.key for problem in caught.value.problems} == {
        "energy.lut.tables_built", "energy.lut.steps", "energy.lut.index_toggles", "power.lut"}
    assert "energy.lut.steps: present; expected no such figure: this machine has no lut" in str(caught.value)


def test_energy_without_time_is_refused(tmp_path: Path) -> None:
    table = SLIM[SLIM.index("[energy]"):]
    with pytest.raises(PresetError, match="energy: present without rates; expected rates of the core and of every unit too"):
        load(tmp_path, BARE + "\n" + table)


def test_power_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="energy: 37 of 37 figures are missing"):
        load(tmp_path, BARE + "\n" + SLIM[SLIM.index("[power]"):])


# ---------------------------------------------------------------------------------------------------- named memories


def named(region: str, memory: str, more: str = "") -> str:
    """SLIM, with a memory in the place of a region's own figures."""
    start = SLIM.index(f"[region.{region}]")
    end = SLIM.index("\n\n", start)
    table = re.sub(r"^(latency_cycles|bytes_per_cycle|memory|channels).*\n?", "", SLIM[start:end] + "\n", flags=re.MULTILINE)
    return SLIM[:start] + table + f'memory = {{ value = "{memory}", source = "assumed: for a test" }}\n' + more + SLIM[end:]


@pytest.mark.parametrize("region", ["dram", "hbm", "flash"])
def test_a_region_names_a_memory_in_one_line(tmp_path: Path, region: str) -> None:
    own = load_preset("slim")
    assert (own.memory(region) is None) == (region != "hbm")
    for name in memories_of(region):
        text = named(region, name)
        if region == "flash":
            text = re.sub(r"(page_bytes +=.*value =) \d+", rf"\1 {MEMORIES[name].page_bytes}", text)
        machine = load(tmp_path, text)
        assert machine.memory(region) == MEMORIES[name]
        if region != "hbm":
            assert {*own.rates} - {*machine.rates} == {f"{region}.latency_cycles", f"{region}.bytes_per_cycle"}
        printed = plain(machine_answer(machine).blocks, 10_000)
        for key, _, source in MEMORIES[name].figures():
            assert re.search(rf"region\.{region}\.memory\.{key}  .*  {re.escape(source)}$", printed, re.MULTILINE), key


def test_a_region_has_its_own_number_of_channels(tmp_path: Path) -> None:
    machine = load(tmp_path, named("dram", "DDR4-2400", 'channels = { value = 2, source = "assumed: two slots" }\n'))
    assert machine.memory("dram").channels == 2 and MEMORIES["DDR4-2400"].channels == 1
    printed = plain(machine_answer(machine).blocks, 10_000)
    assert "region.dram.channels" in printed and "region.dram.memory.channels" not in printed


def test_a_named_memory_is_as_fast_as_the_region_says(tmp_path: Path) -> None:
    machine = load(tmp_path, named("dram", "DDR4-2400", 'speed = { value = 1.5, source = "assumed: overclocked" }\n'))
    assert machine.memory("dram") == replace(MEMORIES["DDR4-2400"], period_ps=Fraction(1660, 3))
    assert "region.dram.speed" in plain(machine_answer(machine).blocks, 10_000)
    with pytest.raises(PresetError, match=r"region\.dram\.speed: present; expected it beside the name of a memory"):
        load(tmp_path, SLIM.replace("[region.dram]", f"[region.dram]\nspeed = {FIGURE}"))
    for value, says in (("0", "greater than 0"), ("1.2345678901", "fewer digits"), ("1e-11", "at least 1 / 16777216")):
        with pytest.raises(PresetError, match=rf"region\.dram\.speed(\.value)?: .*{says}"):
            load(tmp_path, named("dram", "DDR4-2400", f'speed = {{ value = {value}, source = "assumed: a test" }}\n'))


def test_pages_of_flash_are_those_of_its_memory(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"region\.flash\.page_bytes\.value: got 4096; expected 16384, the page of nand-tlc"):
        load(tmp_path, named("flash", "nand-tlc"))


def test_records_are_sound() -> None:
    assert {*MEMORIES} == {"DDR4-2400", "LPDDR4-2400", "HBM2", "GDDR6", "HBM3", "nand-slc", "nand-tlc",
                           "HBM2-PIM", "GDDR6-AiM", "HBM3-PIM", "HBM3-PIM-SB",
                           *(f"nand-{cells}-{place}" for cells in ("slc", "tlc") for place in ("die", "channel")),
                           *(f"HBM3-AttAcc-{place}{end}" for place in ("bank", "group", "buffer") for end in ("", "-unlimited"))}
    for memory in MEMORIES.values():
        assert {*memory.others} <= {name for name, _, _ in memory.figures()}
        for name, value, source in memory.figures():
            assert source and (isinstance(value, str) or value > 0 or name in ("t32AW", "tREFI", "processed_per_second")), name
        assert memory.latency_ps() > 0 and memory.byte_ps() > 0
        if isinstance(memory, Dram):
            assert fits(memory.period_ps) and memory.row_bytes % memory.burst_bytes == 0
            assert sorted(memory.mapping.split()) == ["bank", "channel", "column", "group", "rank", "row"]
            assert memory.tCCD_S <= memory.tCCD_L and memory.tRRD_S <= memory.tRRD_L and memory.tWTR_S <= memory.tWTR_L
            assert memory.tRAS < memory.tRC <= memory.tRAS + memory.tRP
        elif isinstance(memory, PimDram):
            assert fits(memory.period_ps) and memory.tCCDS <= memory.tCCDL
            assert memory.tRAS < memory.tRC <= memory.tRAS + memory.tRP + 3
            assert {name for name, _, _ in memory.figures()} == {"channels", "period_ps", *BANK_FIGURES}
        elif isinstance(memory, AttentionDram):
            assert fits(memory.period_ps) and memory.placement in PLACEMENTS
            assert memory.nCCDS <= memory.nCCDL <= memory.nCCDAB
        else:
            assert isinstance(memory, Nand)


def test_records_give_the_bandwidth_of_their_kind() -> None:
    """Bytes a second of one memory at full stream, from the data rate of its pins."""
    known = {"DDR4-2400": 19.2e9, "LPDDR4-2400": 19.2e9, "HBM2": 256e9, "GDDR6": 128e9, "HBM3": 665.6e9}
    for name, bandwidth in known.items():
        memory = MEMORIES[name]
        apart = max(memory.burst, memory.tCCD_S) * float(memory.period_ps) * 1e-12
        assert memory.channels * memory.burst_bytes / apart == pytest.approx(bandwidth, rel=0.02), name


# ---------------------------------------------------------------------------------------------------- declarations


def test_rates_bear_the_name_of_their_unit_and_count_what_there_is() -> None:
    rates = rates_of(UNITS)
    for unit in UNITS.values():
        assert all(rate.name.startswith(f"{unit.name}.") for rate in unit.rates)
        assert bool(unit.rates) == bool(unit.queue)
        assert {f"{unit.name}.start_cycles", f"{unit.name}.queue_depth"} <= {*rates} or not unit.queue
    for rate in rates.values():
        assert rate.unit and rate.text and not (rate.less and not rate.counter)
        for counter in filter(None, (rate.counter, rate.less)):
            assert counter in COUNTERS, rate.name


def test_counters_that_spend_energy() -> None:
    counters = Counter("x.a", 0, "", ""), Counter("x.b", 1, "", "")
    assert [counter.spends for counter in spending("b", counters)] == [False, True]
    with pytest.raises(AssertionError, match="'c' names more than"):
        spending("c", counters)
    assert {"core.instructions", "sram.bytes_read", "hbm.bytes_written", "lut.steps"} <= {*spending_of(UNITS, REGIONS)}
    assert not {"mmio.bytes_read", "vec.ops", "tokens.read", "sync.waits"} & {*spending_of(UNITS, REGIONS)}
    assert {*spending_of([], ["dram"])} == {"core.instructions", "dram.bytes_read", "dram.bytes_written"}
    assert standing_of(["vec", "sync"], ["mmio", "dram"]) == ("core", "vec", "dram")


# ---------------------------------------------------------------------------------------------------- exact numbers


@pytest.mark.parametrize(("value", "figure"), [(3, Fraction(3)), (38.4, Fraction(192, 5)), (1e-3, Fraction(1, 1000)),
                                               (0.1 + 0.2, Fraction("0.30000000000000004")), (10 ** 400, Fraction(10 ** 400))])
def test_exact_fractions_of_decimals(value: float, figure: Fraction) -> None:
    assert exact(value) == figure
    assert fits(figure) == (figure.numerator < MOST_PART and figure.denominator < MOST_PART)


def test_both_parts_of_a_figure_are_small() -> None:
    assert fits(Fraction(MOST_PART - 1)) and fits(Fraction(1, MOST_PART - 1))
    assert not fits(Fraction(MOST_PART)) and not fits(Fraction(1, MOST_PART)) and not fits(Fraction(-MOST_PART))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_figure(value: float) -> None:
    with pytest.raises(ValueError, match="is no figure"):
        exact(value)


class Int64(int):
    """An integer whose every result has to fit int64."""


def _checked(name: str):
    def operation(self: Int64, other: int) -> Int64:
        result = getattr(int, name)(self, other)
        assert -(1 << 63) <= result < 1 << 63, (name, self, other)
        return Int64(result)
    return operation


for _name in ("__add__", "__sub__", "__mul__", "__floordiv__", "__mod__"):
    setattr(Int64, _name, _checked(_name))


def test_scaled_is_exact_and_its_steps_fit_64_bits() -> None:
    generator = random.Random(1)
    edges = [1, 2, 3, (1 << 20) - 1, 1 << 20, (1 << 22) - 1, 1 << 22, MOST_PART - 1]
    cases = [(n, a, b) for n in (0, *edges, (1 << 62) - 1) for a in edges for b in edges]
    cases += [tuple(generator.randrange(1, 1 << generator.randrange(1, bits)) for bits in (63, 41, 41)) for _ in range(3000)]
    done = 0
    for count, numerator, denominator in cases:
        result = -(-count * numerator // denominator)
        if result < 1 << 62:
            assert scaled(Int64(count), Int64(numerator), Int64(denominator)) == result
            done += 1
    assert done > 2000


# ---------------------------------------------------------------------------------------------------- rules

_ALLOWED = (
    ast.Return, ast.Assign, ast.AugAssign, ast.Expr, ast.If, ast.While, ast.For, ast.Break, ast.Continue, ast.Pass, ast.IfExp,
    ast.Compare, ast.cmpop, ast.BoolOp, ast.boolop, ast.BinOp, ast.operator, ast.UnaryOp, ast.unaryop, ast.Call, ast.Subscript,
    ast.Name, ast.Constant, ast.Tuple, ast.expr_context, ast.keyword, ast.Slice)


def outside_of_rules(source: str) -> list[str]:
    """What is in the source of a rule that numba does not compile as Python means it."""
    function = ast.parse(dedent(source)).body[0]
    assert isinstance(function, ast.FunctionDef)
    body = function.body[1:] if ast.get_docstring(function) else function.body
    nodes = [node for statement in body for node in ast.walk(statement)]
    wrong = [type(node).__name__ for node in nodes if not isinstance(node, _ALLOWED)]
    wrong += ["/" for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Pow)]
    wrong += ["keyword argument" for node in nodes if isinstance(node, ast.Call) and node.keywords]
    wrong += [repr(node.value) for node in nodes if isinstance(node, ast.Constant) and type(node.value) not in (int, bool)]
    return wrong


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_keeps_to_what_both_engines_read_alike(name: str) -> None:
    function = RULES[name]
    assert is_rule(function) and function.__closure__ is None and not is_rule(len)
    assert outside_of_rules(inspect.getsource(function)) == []


def test_the_reader_of_rules_sees_what_it_should() -> None:
    good = 'def f(a, b):\n    """Text."""\n    if a[0] > 1 and not b:\n        a[b] += 1 // 2\n    return g(a)'
    assert outside_of_rules(good) == []
    assert outside_of_rules("def f(a):\n    try:\n        return 1.5 / a\n    except E:\n        return [x for x in g(a=1)]") == [
        "Try", "ExceptHandler", "ListComp", "comprehension", "/", "keyword argument", "1.5"]
    before = dict(RULES)

    @rule
    def one(a: int) -> int:
        return a

    assert one(3) == 3 and is_rule(one)
    RULES.clear()
    RULES.update(before)
