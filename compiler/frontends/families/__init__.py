"""The families of models that are read: one file each. CONTRIBUTING.md says how one is added.

    llama.py        Llama, and all that its relatives share with it
    mistral.py, qwen.py, bitnet.py      its relatives: what is different
    opt.py          OPT
"""

from __future__ import annotations

from compiler.frontends.families.bitnet import BITNET, BITNET_SILU
from compiler.frontends.families.llama import LLAMA
from compiler.frontends.families.mistral import MISTRAL
from compiler.frontends.families.opt import OPT
from compiler.frontends.families.qwen import QWEN2, QWEN3
from compiler.frontends.family import Family

FAMILIES: tuple[Family, ...] = (LLAMA, MISTRAL, QWEN2, QWEN3, BITNET_SILU, BITNET, OPT)

CLASSES = {family.class_name: family for family in FAMILIES if family.class_name}
"""By the class of transformers that config.json names."""
RENAMED = {older: family.class_name for family in FAMILIES for older in family.older_names}
"""Older names of these classes."""
ARCHITECTURES = {name: family for family in FAMILIES for name in family.architectures}
"""By general.architecture of a GGUF file."""
