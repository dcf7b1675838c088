"""Small images for the tests: one bright block on a dark ground, in one of four corners."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from fdsr.data.image_spec import ImageBatch, ImageSpec

SPEC = ImageSpec(channels=1, height=6, width=6, padded=8)


def make_images(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(images (count, 1, 8, 8) in [−1, 1] with a margin of −1, corner (count,))."""
    rng = torch.Generator().manual_seed(seed)
    corner = torch.randint(4, (count,), generator=rng)
    images = torch.full((count, 1, 8, 8), -1.0)
    for i, c in enumerate(corner.tolist()):
        row, column = 1 + 3 * (c // 2), 1 + 3 * (c % 2)
        images[i, :, row : row + 3, column : column + 3] = 0.9 - 0.2 * torch.rand(1, generator=rng)
    return images, corner


class _Images(Dataset[ImageBatch]):
    def __init__(self, count: int, seed: int) -> None:
        self.images, self.corner = make_images(count, seed)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> ImageBatch:
        return {"image": self.images[i], "index": torch.tensor(i), "label": self.corner[i]}


class _Order(Sampler[int]):
    """The given order, without its first `skip` the first time."""

    def __init__(self, order: range, skip: int) -> None:
        self.order, self.skip = order, skip if skip < len(order) else 0

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        skip, self.skip = self.skip, 0
        return iter(self.order[skip:])


class TinyImages(L.LightningDataModule):
    """Images in the same order every epoch; ranks take turns."""

    def __init__(self, count: int = 64, batch_size: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.spec = SPEC

    def _loader(self, count: int, seed: int, skip: int = 0) -> DataLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        order = _Order(range(rank, count - count % world, world), skip)
        return DataLoader(_Images(count, seed), self.batch_size, sampler=order, drop_last=True)

    def train_dataloader(self) -> DataLoader:
        # a run that resumes in mid-epoch goes on where it stopped
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed if self.trainer else 0
        return self._loader(self.count, self.seed, skip=done * self.batch_size)

    def val_dataloader(self) -> DataLoader:
        return self._loader(2 * self.batch_size, self.seed + 1)

    def test_dataloader(self) -> DataLoader:
        return self._loader(2 * self.batch_size, self.seed + 2)


def write_idx(path: str | Path, values: NDArray[np.uint8]) -> None:
    """Write an array of unsigned bytes as an IDX file, packed if the name ends in .gz."""
    data = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()
    Path(path).write_bytes(gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)
