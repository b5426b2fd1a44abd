"""Images, by a network that makes feature maps and a pooling over each map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polypool import _checks
from polypool._errors import first_line
from polypool.corpus.adapter import Encoded, Source, Tick
from polypool.corpus.errors import CorpusError
from polypool.corpus.image_files import find_images
from polypool.corpus.image_rows import ImageParquet
from polypool.corpus.networks import load_network
from polypool.corpus.pictures import Picture, Preparation
from polypool.corpus.pooled import PooledNetwork
from polypool.layouts import Grid

#: Of the pixels of ImageNet, by channel.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class ImageAdapter(PooledNetwork):
    """Images of folders, files and Parquet through a network whose feature maps are pooled.

    An image is decoded and resized (see `Preparation`), its numbers are divided by 255 and normalised, and the network
    makes a map `(C, h, w)` of it. The map is pooled as a `Grid`, for which any pooling will do. Only images of one size
    go through the network together: no image is padded because of another one. With `fit="pad"` every image is padded
    to the same square, by what the normalisation makes 0, and the pooling reads only those positions of the map whose
    centre lies in the image.

    The id of an image is its path below the input folder, or the `id_column` of Parquet. `tokens` counts positions of
    the map; `truncated` marks images of which the crop left something out.

    Args:
        model: `module:callable`, which gives a `torch.nn.Module` from images `(B, channels, H, W)` to feature maps
            `(B, C, h, w)`.
        pool: The pooling, by name, or `module:callable` which gives a trained one.
        size: Pixels of a side.
        fit: `"crop"`, `"stretch"`, `"pad"` or `"keep"`.
        resize: The shorter side before the crop; `size` when None. 256 with `size=224` is what torchvision does.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"` or `"lanczos"`.
        mode: `"RGB"` or `"L"`.
        mean: Subtracted from each channel of the numbers between 0 and 1: numbers, or a string `"0.5,0.5,0.5"`;
            that of ImageNet when None, for `"L"` the mean of its channels.
        std: What the numbers are divided by after that, alike.
        batch: The most images that go through the network together.
        image_column: The column of the images in Parquet.
        id_column: The column of the ids in Parquet; the number of the row in the corpus when None.

    Raises:
        ValueError: There is no model named, or a setting is out of range.
    """

    packages = ("pillow",)

    def __init__(
        self,
        model: str | None = None,
        pool: str | None = None,
        size: int = 224,
        fit: str = "crop",
        resize: int | None = None,
        interpolation: str = "bilinear",
        mode: str = "RGB",
        mean: str | Sequence[float] | None = None,
        std: str | Sequence[float] | None = None,
        batch: int = 32,
        image_column: str = "image",
        id_column: str | None = None,
    ) -> None:
        if model is None:
            raise ValueError(
                "model must be named: module:callable, which gives a module that makes feature maps"
            )
        _checks.size(batch, "batch", 1)
        self._preparation = Preparation(size, fit, resize, interpolation, mode)
        channels = self._preparation.channels
        self._mean = _numbers("mean", mean, MEAN, channels)
        self._std = _numbers("std", std, STD, channels)
        if min(self._std) <= 0:
            raise ValueError(f"std must be above 0; found {min(self._std)}")
        super().__init__(
            {
                "model": model,
                "pool": pool or "mean",
                "size": size,
                "fit": fit,
                "resize": resize,
                "interpolation": interpolation,
                "mode": mode,
                "mean": self._mean,
                "std": self._std,
                "batch": batch,
                "image_column": image_column,
                "id_column": id_column,
            }
        )

    def sources(self, inputs: Sequence[str]) -> list[Source]:
        settings = self._settings
        found = find_images(inputs, settings["image_column"], settings["id_column"], self._preparation)
        whole = all(isinstance(source, ImageParquet) and source.id_type == "int64" for source in found)
        self.id_type = "int64" if whole else "string"
        return found

    def load(self, device: str) -> None:
        try:
            import PIL  # noqa: F401 - rows would be quarantined one by one without it
        except ImportError as error:
            raise CorpusError("images need Pillow: pip install polypool[vision].") from error
        name, size = self._settings["model"], self._preparation.size
        self._device = torch.device(device)
        self._network = load_network(name, device)
        blank = torch.zeros(1, self._preparation.channels, size, size, device=self._device)
        try:
            with torch.inference_mode():
                features = self._features(blank)
        except Exception as error:
            raise CorpusError(
                f"model {name} cannot read images {tuple(blank.shape)}: {first_line(error)}."
            ) from error
        self._fit(features.shape[1], "grid", device)

    def encode(self, rows: Sequence[Picture], tick: Tick) -> Encoded:
        vectors = np.empty((len(rows), self._dimension), dtype=np.float32)
        tokens = np.empty(len(rows), dtype=np.int64)
        for places in self._batches(rows):
            found, counts = self._encoded([rows[place] for place in places])
            vectors[places], tokens[places] = found, counts
            tick(len(places), int(counts.sum()))
        return Encoded(vectors, tokens, np.array([row.cropped for row in rows], dtype=np.bool_))

    def _batches(self, rows: Sequence[Picture]) -> Iterator[list[int]]:
        """The places of images that go through the network together: of one size, in their order."""
        most = self._settings["batch"]
        if self._preparation.fit != "keep":
            yield from (list(range(at, min(at + most, len(rows)))) for at in range(0, len(rows), most))
            return
        sizes: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            sizes[row.pixels.shape].append(place)
        for places in sizes.values():
            yield from (places[at : at + most] for at in range(0, len(places), most))

    @torch.inference_mode()
    def _encoded(self, pictures: Sequence[Picture]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The vectors of pictures of one size after padding, and the positions that each was pooled from."""
        pool, padded = self.pooling, self._preparation.fit == "pad"
        images = [self._normalised(picture) for picture in pictures]
        if padded:
            images = [_at_the_corner(image, self._preparation.size) for image in images]
        features = self._features(torch.stack(images).to(self._device))
        mask = None
        if padded:
            sizes = [picture.pixels.shape[:2] for picture in pictures]
            mask = _real(sizes, self._preparation.size, features)
        grid = Grid(features, mask)
        return pool(grid).float().cpu().numpy(), grid.counts.cpu().numpy()

    def _normalised(self, picture: Picture) -> Tensor:
        pixels = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1).to(torch.float32) / 255
        mean, std = torch.tensor(self._mean)[:, None, None], torch.tensor(self._std)[:, None, None]
        return (pixels - mean) / std

    def _features(self, images: Tensor) -> Tensor:
        if self._network is None:
            raise RuntimeError("the model is not loaded; call load first")
        found = self._network(images)
        if not isinstance(found, Tensor):
            raise ValueError(f"it must give a tensor (B, C, h, w); found {type(found).__name__}")
        if found.dim() != 4 or len(found) != len(images) or not found.is_floating_point():
            raise ValueError(
                f"it must give feature maps (B, C, h, w) in floating point, with B = {len(images)}; found "
                f"{tuple(found.shape)} in {found.dtype}"
            )
        return found


def _numbers(
    name: str, given: str | Sequence[float] | None, usual: Sequence[float], channels: int
) -> list[float]:
    """One number for each channel.

    Raises:
        ValueError: They are no such numbers.
    """
    if given is None:
        return list(usual) if channels == len(usual) else [sum(usual) / len(usual)] * channels
    try:
        parts = given.split(",") if isinstance(given, str) else given
        found = [float(part) for part in parts]
    except (TypeError, ValueError):
        found = []
    if len(found) != channels or not np.isfinite(found).all():
        raise ValueError(f"{name} must be {channels} numbers, one for each channel; found {given!r}")
    return found


def _at_the_corner(image: Tensor, size: int) -> Tensor:
    """An image in a square of zeros, at the top and left."""
    return nn.functional.pad(image, (0, size - image.shape[2], 0, size - image.shape[1]))


def _real(sizes: Sequence[tuple[int, ...]], size: int, features: Tensor) -> Tensor:
    """The positions of the maps whose centre lies in the image; the first row and column always do."""
    places = []
    for sides, many in zip(zip(*sizes, strict=True), features.shape[2:], strict=True):
        within = torch.tensor(
            [max(ceil(side * many / size - 0.5), 1) for side in sides], device=features.device
        )
        places.append(torch.arange(many, device=features.device) < within[:, None])
    rows, columns = places
    return rows[:, :, None] & columns[:, None, :]
