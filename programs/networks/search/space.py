"""The networks that can be found: choices, and the layers that they make. A path is a choice of each; a space is the set of them.

Every path is a stem, mobile blocks (inverted bottlenecks of MobileNetV2), a transformer on the pixels that are left, and a head:

    stem        convolution 3 x 3, stride 2
    block       1 x 1 to `expand` times the channels, depthwise `kernel` x `kernel`, 1 x 1 to `width`; with stride 1 plus its input
    former      1 x 1 to `dim`; `layers` times attention with two heads, and two linears with `ffn` times `dim` between them
    head        1 x 1 to `head`, mean over pixels, linear to the classes

The widest path is the supernet, whose weights all paths share (supernet.py). `zeros` of a part says which share of the weights of
its matrices is left out, and in blocks of how many: TinyFormer's mixed block sizes. Stem, depthwise and last layer keep all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

Path = dict[str, Any]           # of each choice what was chosen
DENSE = "dense"
ZEROS = (DENSE, "2:60", "2:70", "4:70", "4:80")         # block : percent of blocks that are zero
PARTS = ("mobile", "former", "head")
HEADS = 2


@dataclass(frozen=True)
class Layer:
    """An operation. `of` and `other` are the layers that it reads; "" is the image. Pixels are `side` x `side` before it."""

    kind: str               # conv, depthwise, linear, norm, attention, add, mean
    name: str
    of: str
    side: int
    inputs: int             # channels
    outputs: int
    kernel: int = 1
    stride: int = 1
    relu: bool = False
    heads: int = 0
    other: str = ""
    zeros: str = DENSE

    @property
    def pruning(self) -> tuple[int, float]:
        """(block, share of blocks that are zero); (0, 0.0) of a layer that keeps all its weights."""
        if self.zeros == DENSE:
            return 0, 0.0
        block, percent = self.zeros.split(":")
        return int(block), int(percent) / 100

    @property
    def side_out(self) -> int:
        return 1 if self.kind == "mean" else (self.side - 1) // self.stride + 1


class Space:
    """All paths through mobile blocks with these strides, for images of `side` x `side` pixels and one channel."""

    def __init__(self, name: str, strides: tuple[int, ...], side: int, classes: int = 10, zeros: tuple[str, ...] = ZEROS) -> None:
        self.name, self.strides, self.side, self.classes = name, strides, side, classes
        self.choices: dict[str, tuple[Any, ...]] = {"stem": (8, 12, 16)}
        for i, stride in enumerate(strides):
            self.choices[f"block{i}.expand"] = (2, 4) if stride > 1 else (0, 2, 4)           # 0: no such block
            self.choices[f"block{i}.kernel"] = (3, 5)
            if stride > 1:
                self.choices[f"block{i}.width"] = (16, 24, 32)
        self.choices |= {"dim": (16, 24, 32), "layers": (1, 2), "ffn": (1, 2, 3), "head": (32, 64, 96)}
        self.choices |= {f"{part}.zeros": zeros for part in PARTS}

    def dense(self) -> Space:
        """The same without zeros."""
        return Space(self.name, self.strides, self.side, self.classes, (DENSE,))

    def largest(self) -> Path:
        """The widest and deepest path, dense."""
        return {name: values[0] if name.endswith(".zeros") else values[-1] for name, values in self.choices.items()}

    def sample(self, chance: random.Random) -> Path:
        return {name: chance.choice(values) for name, values in self.choices.items()}

    def changed(self, path: Path, number: int, chance: random.Random) -> Path:
        """A path with other values of so many choices."""
        names = chance.sample([name for name, values in self.choices.items() if len(values) > 1], number)
        return path | {name: chance.choice([value for value in self.choices[name] if value != path[name]]) for name in names}

    def layers(self, path: Path) -> list[Layer]:
        """The layers of a path, in order."""
        made = _Layers(self.side)
        made.add("conv", "stem", path["stem"], kernel=3, stride=2, relu=True)
        for i, stride in enumerate(self.strides):
            if path[f"block{i}.expand"]:
                made.block(f"block{i}", stride, path.get(f"block{i}.width", made.channels), path[f"block{i}.expand"],
                           path[f"block{i}.kernel"], path["mobile.zeros"])
        made.add("conv", "embed", path["dim"], zeros=path["former.zeros"])
        for i in range(path["layers"]):
            made.former(f"former{i}", path["ffn"], path["former.zeros"])
        made.add("conv", "head", path["head"], relu=True, zeros=path["head.zeros"])
        made.add("mean", "mean", path["head"])
        made.add("linear", "classes", self.classes)
        return made.all


class _Layers:
    """Layers one behind the other."""

    def __init__(self, side: int) -> None:
        self.all: list[Layer] = []
        self.at, self.side, self.channels = "", side, 1

    def add(self, kind: str, name: str, outputs: int, **more: Any) -> str:
        layer = Layer(kind, name, self.at, self.side, self.channels, outputs, **more)
        self.all.append(layer)
        self.at, self.side, self.channels = name, layer.side_out, outputs
        return name

    def block(self, name: str, stride: int, width: int, expand: int, kernel: int, zeros: str) -> None:
        before, adds, wide = self.at, stride == 1 and width == self.channels, expand * self.channels
        self.add("conv", f"{name}_expand", wide, relu=True, zeros=zeros)
        self.add("depthwise", f"{name}_depthwise", wide, kernel=kernel, stride=stride, relu=True)
        self.add("conv", f"{name}_project", width, zeros=zeros)
        if adds:
            self.add("add", f"{name}_add", width, other=before)

    def former(self, name: str, ffn: int, zeros: str) -> None:
        before, dim = self.at, self.channels
        self.add("norm", f"{name}_norm1", dim)
        self.add("linear", f"{name}_qkv", 3 * dim, zeros=zeros)
        self.add("attention", f"{name}_attention", dim, heads=HEADS)
        self.add("linear", f"{name}_out", dim, zeros=zeros)
        before = self.add("add", f"{name}_add1", dim, other=before)
        self.add("norm", f"{name}_norm2", dim)
        self.add("linear", f"{name}_wide", ffn * dim, relu=True, zeros=zeros)
        self.add("linear", f"{name}_narrow", dim, zeros=zeros)
        self.add("add", f"{name}_add2", dim, other=before)


def supernets(side: int, classes: int = 10) -> list[Space]:
    """What SuperNAS chooses from: where mobile blocks make the image smaller, and so how many pixels the transformer sees."""
    return [Space("one block", (2,), side, classes), Space("two blocks", (2, 1), side, classes),
            Space("small", (2, 2), side, classes)]
