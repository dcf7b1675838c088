"""Batches of images that lie in memory as bytes: indexing, no worker, no cost a sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fdsr.data.image_spec import ImageBatch, ImageSpec
from fdsr.data.images.files import LabelledImages


def assemble(data: LabelledImages, chosen: Tensor, spec: ImageSpec) -> ImageBatch:
    """The images `chosen` (B,) as float32 in [−1, 1], padded with −1, the images' own background, on the data's device."""
    top, left = spec.margins
    below, right = spec.padded - spec.height - top, spec.padded - spec.width - left
    place = chosen.to(data.images.device)
    image = data.images[place][:, None].to(torch.float32) / 127.5 - 1
    padded = F.pad(image, (left, right, top, below), value=-1.0)
    return {"image": padded, "index": place, "label": data.labels[place].long()}


class TrainingBatches:
    """Batches of an epoch in an order that is a pure function of (seed, epoch).

    Every process takes its stride of the same order, equally many whole batches; which images are left over varies by
    epoch. A run that resumes in the middle of an epoch sees what an uninterrupted one would have seen.

    Not a torch DataLoader on purpose: trainers put a distributed sampler of their own into those. They find `sampler`,
    whose `set_epoch` they call, and a length.
    """

    def __init__(
        self, data: LabelledImages, spec: ImageSpec, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.data, self.spec, self.batch_size, self.seed = data, spec, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.skip = 0  # batches of the current epoch already used, when a run resumes in its middle

    @property
    def sampler(self) -> TrainingBatches:
        return self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data.images) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[ImageBatch]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.data.images))
        mine = torch.from_numpy(order)[self.rank :: self.world_size].to(self.data.images.device)
        skip, self.skip = self.skip, 0
        for i in range(skip, len(self)):
            yield assemble(self.data, mine[i * self.batch_size : (i + 1) * self.batch_size], self.spec)


class EvaluationBatches:
    """Every image once over all processes, in order, each process its stride."""

    def __init__(
        self, data: LabelledImages, spec: ImageSpec, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.data, self.spec = data, spec
        self.share = torch.arange(rank, len(data.images), world_size).split(batch_size)

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[ImageBatch]:
        return (assemble(self.data, chosen, self.spec) for chosen in self.share)
