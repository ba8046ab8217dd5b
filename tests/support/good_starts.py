"""Starts with which an instruction of the slim machine completes: operands, CSRs, state of its unit."""

from __future__ import annotations

from typing import Any

import asm
from isa.instruction import Row

SRAM = 0x1000_0000

Start = tuple[dict[str, int], dict[str, int], dict[str, Any]]          # operands, CSRs, state


def good(row: Row) -> Start:
    """(operands, CSRs, state) with which an instruction completes on the slim machine."""
    values = {operand.name: SRAM + 4096 * i if operand.access else 4
              for i, operand in enumerate(row.operands) if operand is not row.result}
    settings: dict[str, int] = {}
    state: dict[str, Any] = {}
    match row.unit:
        case "vec":
            settings = {"vec.cols": 4, "vec.head_dim": 4}
        case "lut":
            values["bit"] = 1
            state = {"lut.kind": 2 if row.mnemonic == "lut.xnor" else 1, "lut.length": 4}
        case "thr":
            settings = {"thr.levels": 4}
            values["n"] = 16
        case "fetch":
            settings = {"fetch.row_bytes": 4, "fetch.table_rows": 8, "fetch.tag": 1}
        case "sync":
            state = {"sync.signalled": 1}
        case "attn":
            form = row.mnemonic.rpartition(".")[2]
            settings = {"attn.key_stride": 64, "attn.value_stride": 64, "attn.mask": SRAM + 0x1_0000}
            if row.mnemonic.startswith(("attn.mac", "attn.context")):
                settings["attn.row_list"] = SRAM + 0x2_0000
            values |= {"head_dim": 4, "kv_heads": 2, "first": 0, "count": 1}
            state = {"attn.model": [8, 4, 4, 0, 8], "attn.loaded": [2 if form == "i8" else 1, 0, 8, 4]}
        case "pim":
            values |= {"bank": 1, "row": 1, "column": 1, "parity": 0, "zeroed": 1, "index": 1, "opsize": 1, "mode": 1}
            state = _banks(row.mnemonic)
    return {name: value for name, value in values.items() if name in {o.name for o in row.operands}}, settings, state


def _banks(name: str) -> dict[str, Any]:
    """Modes and open rows that suit a command, and a micro-program of MOVs to and from the even banks."""
    steps = name in ("pim.rd.pim", "pim.wr.pim")
    hab = ".hab" in name or name in ("pim.mode.sb", "pim.mode.hab_pim", "pim.wr.crf", "pim.wr.grf_a", "pim.wr.grf_b", "pim.wr.srf")
    closed = name in ("pim.mode.sb", "pim.mode.hab") or "act" in name
    word = ".crf mov even_bank, grf_a[0]" if name == "pim.wr.pim" else ".crf mov grf_a[0], even_bank"
    section = asm.assemble(f"{word}\n").section(".text")
    assert section is not None
    return {"pim.mode": 2 if steps else 0 if name == "pim.mode.hab" else int(hab), "pim.open_row": -1 if closed else 1,
            "pim.crf": int.from_bytes(section.bytes()[:4], "little")}
