"""From the bytes of an image file to pixels of the size that a network takes."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

FITS = ("crop", "stretch", "pad", "keep")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
MODES = ("RGB", "L")
#: The most pixels of an image, before and after it is resized.
MAX_PIXELS = 89_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as the network gets it, before its numbers are normalised.

    Attributes:
        pixels: `(H, W, channels)`, uint8.
        cropped: Whether a part of the image is missing.
    """

    pixels: NDArray[np.uint8]
    cropped: bool


@dataclass(frozen=True, slots=True)
class Preparation:
    """Decodes an image with Pillow, turns it upright (EXIF), converts and resizes it.

    Args:
        size: Pixels of a side.
        fit: How an image becomes that size. `"crop"`: the shorter side becomes `resize`, then the middle is cut out,
            `size` by `size`. `"stretch"`: both sides become `size`. `"pad"`: the longer side becomes `size`; the rest,
            at the right and at the bottom, is padding. `"keep"`: the longer side becomes at most `size`.
        resize: The shorter side before the crop, at least `size`; `size` when None.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"` or `"lanczos"`, as Pillow does it: without aliasing.
        mode: `"RGB"`, three channels, or `"L"`, one. Transparency is dropped; 16 bits become 8; of an animation the
            first picture counts.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from polypool.corpus.pictures import Preparation
        >>> file = io.BytesIO()
        >>> Image.new("L", (40, 20), 128).save(file, "PNG")
        >>> [Preparation(16, fit)(file.getvalue()).pixels.shape for fit in ("crop", "stretch", "pad", "keep")]
        [(16, 16, 3), (16, 16, 3), (8, 16, 3), (8, 16, 3)]
    """

    size: int = 224
    fit: str = "crop"
    resize: int | None = None
    interpolation: str = "bilinear"
    mode: str = "RGB"

    def __post_init__(self) -> None:
        for name, value in (("size", self.size), ("resize", self.resize)):
            if value is None and name == "resize":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 8192:
                raise ValueError(f"{name} must be an integer from 1 to 8192; found {value!r}.")
        for name, word, known in (
            ("fit", self.fit, FITS),
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("mode", self.mode, MODES),
        ):
            if word not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; found {word!r}.")
        if self.resize is not None and (self.fit != "crop" or self.resize < self.size):
            raise ValueError(
                f"resize must be at least size = {self.size}, with fit = 'crop'; found {self.resize} with "
                f"fit = {self.fit!r}."
            )

    @property
    def channels(self) -> int:
        """Of the pixels."""
        return 3 if self.mode == "RGB" else 1

    def __call__(self, data: bytes) -> Picture:
        """The pixels of an image file.

        Raises:
            ValueError: It is no image, is broken, or has too many pixels; the message is one short line.
        """
        from PIL import Image, UnidentifiedImageError

        # Pillow only warns where decoding may take a gigabyte.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                with Image.open(io.BytesIO(data)) as image:
                    return self._fitted(_converted(image, self.mode))
            except UnidentifiedImageError:
                raise ValueError("no image that Pillow can read") from None
            except (MemoryError, _SizeError):
                raise
            except (Image.DecompressionBombWarning, Image.DecompressionBombError):
                raise ValueError(f"more than {MAX_PIXELS:,} pixels") from None
            except Exception as error:  # noqa: BLE001 - said in one line, of which image is known by the caller
                # Decoders raise whatever they like (SyntaxError, struct.error, zlib.error) at broken files.
                said = " ".join(str(error).split())
                raise ValueError(f"broken image: {said or type(error).__name__}") from None

    def _fitted(self, image: Image) -> Picture:
        from PIL import Image as images

        how: Resampling = getattr(images.Resampling, self.interpolation.upper())
        width, height = self._scaled(*image.size)
        if width * height > MAX_PIXELS:
            raise _SizeError(f"{width} x {height} pixels after it is resized")
        if (width, height) != image.size:
            image = image.resize((width, height), how)
        cropped = False
        if self.fit == "crop":
            cropped = (width, height) != (self.size, self.size)
            left, top = round((width - self.size) / 2), round((height - self.size) / 2)
            image = image.crop((left, top, left + self.size, top + self.size))
        pixels = np.asarray(image, dtype=np.uint8)
        return Picture(pixels.reshape(*pixels.shape[:2], self.channels), cropped)

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """The size before anything is cropped or padded; it is rounded down, as torchvision does."""
        if self.fit == "stretch":
            return self.size, self.size
        if self.fit == "crop":
            wanted, side = self.resize or self.size, min(width, height)
        else:
            side = max(width, height)
            wanted = self.size if self.fit == "pad" else min(side, self.size)
        return max(width * wanted // side, 1), max(height * wanted // side, 1)


class _SizeError(ValueError):
    """More pixels than fit into memory."""


def _converted(image: Image, mode: str) -> Image:
    from PIL import Image as images
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # 16 bits: Pillow would cut off what is above 255 instead of scaling it.
        wide = np.asarray(image).astype(np.int64)
        image = images.fromarray((wide >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)
