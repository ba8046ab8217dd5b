"""Images in, classes and logits out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.errors import ModelError
from compiler.networks.program import CompiledNetwork
from compiler.networks.saved import SavedNetwork
from compiler.networks.steps import Network
from isa.files import opened
from isa.reference import ReferenceMachine, RunResult
from isa.services import Host

MODES = {1: ("L", "1"), 3: ("RGB", "P")}      # of Pillow, by channels: those that the first one has without loss
Images = npt.NDArray[np.int8]
Maker = Callable[..., ReferenceMachine]


def read_images(path: Path, network: Network | SavedNetwork) -> Images:
    """The images of a file, (images, lines * pixels * channels) int8: an .npz with an array `images`, an .npy, a picture.

    Of a picture a byte p becomes p - 128. Raises ModelError for another size or type, OSError.
    """
    shape = network.image
    opened(path).close()                # a directory or a device is no picture
    array = _array(path, shape)
    expected = f"int8 images of {shape[0]} x {shape[1]} x {shape[2]}: ({', '.join(('n', *map(str, shape)))})"
    size = int(np.prod(shape))
    many = array.size // size
    sides = [side for side in array.shape if side != 1]                     # of one line, one pixel, one image nothing need be said
    if array.ndim == 0 or array.size == 0 or array.size % size or sides not in (
            [side for side in given if side != 1] for given in ((many, size), (many, *shape))):
        raise ModelError(path, "", got=f"an array {tuple(array.shape)}", expected=expected)
    if array.dtype != np.int8:
        raise ModelError(path, "", got=f"an array of {array.dtype}", expected=expected,
                         hint="quantise them as the network's input was: round(x / scale) + zero point")
    return np.ascontiguousarray(array).reshape(-1, size)


def _array(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    if path.suffix.lower() not in (".npz", ".npy"):
        return _picture(path, shape)
    try:
        held = np.load(path, allow_pickle=False)
        if isinstance(held, np.ndarray):
            return held
        with held:
            if "images" not in held.files:
                raise ModelError(path, "images", got="missing",
                                 expected=f"an array of this name; the file has {', '.join(held.files)}")
            array: npt.NDArray[Any] = held["images"]
            return array
    except (ModelError, FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:      # ValueError, EOFError, zipfile.BadZipFile, zlib.error: what np.load lets through
        raise ModelError(path, "", got=f"no arrays of NumPy: {error}", expected="a file of np.save or np.savez") from None


def _picture(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ModelError(path, "", got="no .npz and no .npy file", expected="one of them: Pillow, which reads pictures, is missing",
                         hint="if it is a picture: pip install 'slimulator[pictures]'") from None
    try:
        with Image.open(path) as picture:
            modes = MODES.get(shape[2], ())
            if not modes or picture.size != (shape[1], shape[0]):
                raise ModelError(path, "", got=f"a picture of {picture.size[0]} x {picture.size[1]} pixels",
                                 expected=f"{shape[1]} x {shape[0]} pixels of {shape[2]} channels")
            if picture.mode not in modes or "transparency" in picture.info:
                got = "a picture with transparent pixels" if "transparency" in picture.info else f"a picture of mode {picture.mode}"
                raise ModelError(path, "", got=got, expected=f"{modes[0]}: a byte for each channel of a pixel",
                                 hint=f'PIL.Image.open(...).convert("{modes[0]}").save(...) makes one')
            pixels = np.asarray(picture.convert(modes[0]), np.int16).reshape(shape)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        raise ModelError(path, "", got="no picture that Pillow can read", expected="a PNG, or an .npz or .npy file") from None
    except OSError as error:
        if error.errno is not None:         # of the system; Pillow's own have no number
            raise
        raise ModelError(path, "", got=f"a damaged picture: {error}", expected="a whole one") from None
    return (pixels - 128).astype(np.int8)


class Inference:
    """A network on a machine. `machine` may be inspected at any time."""

    def __init__(self, compiled: CompiledNetwork | SavedNetwork, images: Images, make: Maker) -> None:
        """Raises ProgramError for a machine that the program does not fit."""
        self.compiled, self.images = compiled, images
        self.classes: list[int] = []
        self.logits: list[list[int]] = []
        self.machine = make(compiled.machine, Host(self._given(), emit=self._taken))
        self.machine.load(compiled.program)

    def run(self) -> RunResult:
        """All images."""
        return self.machine.run()

    def _given(self) -> Iterator[int]:
        program = self.compiled.program
        for number, image in enumerate(self.images):
            self.machine.peek(program.address("image"), len(image))[:] = image.view(np.uint8)
            yield number

    def _taken(self, answer: int) -> None:
        logits = self.machine.peek(self.compiled.program.address("logits"), self.compiled.outputs)
        self.classes.append(answer)
        self.logits.append(logits.view(np.int8).tolist())
