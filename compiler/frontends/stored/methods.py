"""The storage that a config.json names, by its quant_method.

    storage = storage_of(options)
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.errors import one_of
from compiler.frontends.options import Options
from compiler.frontends.stored import awq, bitnet, compressed_tensors, gptq
from compiler.frontends.stored.storage import Storage, way_out
from isa.hints import nearest

METHODS: dict[str, Callable[[Options], Storage]] = {
    "bitnet": bitnet.read, "compressed-tensors": compressed_tensors.read, "gptq": gptq.read, "awq": awq.read}


def storage_of(options: Options) -> Storage | None:
    """The storage that a config.json names; None: floats. Raises ModelError for another one."""
    if options.table("quantization").values:                            # MLX's name for it
        raise options.error("quantization", expected="none, or quantization_config", hint=way_out("mlx"))
    compressed_tensors.check_sparsity(options)                          # an older place of it
    for key in ("compression_config", "quantization_config"):           # the first is an older name of compressed-tensors
        table = options.table(key)
        if table.values:
            method = table.values.get("quant_method", "compressed-tensors" if key == "compression_config" else None)
            if method not in METHODS:
                raise table.error("quant_method", expected=one_of(METHODS),
                                  hint=nearest(str(method), METHODS) or way_out(str(method)))
            table.choice("quant_method", METHODS, str(method))
            storage = METHODS[method](table)
            options.notes += table.notes
            return storage
    return None
