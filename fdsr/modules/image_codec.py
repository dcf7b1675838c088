"""Images as targets: unconditional, already in [−1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.data.image_spec import ImageSpec
from fdsr.modules.codec import Batch, Codec, Encoded
from fdsr.modules.first_stage import FirstStage


class ImageCodec(Codec):
    """x_0 is the padded image itself; what is drawn is cropped to the image's own size and cut to [−1, 1].

    There is no coarse field to start from, so `target` and `interpolation` of a method mean nothing here.
    """

    condition_channels = 0

    def __init__(
        self, spec: ImageSpec, target: str = "full", interpolation: str | None = None, stage: FirstStage | None = None
    ) -> None:
        super().__init__()
        self.spec, self.channels = spec, spec.channels

    def encode(self, batch: Batch) -> Encoded:
        return self.blank(len(batch["image"]), batch["image"].device)

    def blank(self, count: int, device: torch.device) -> Encoded:
        """The base and the condition of `count` images, which tell nothing."""
        side = self.spec.padded
        base = torch.zeros(count, self.channels, side, side, device=device)
        return Encoded(base, base[:, :0])

    def truth(self, batch: Batch) -> Tensor:
        return batch["image"]

    def to_target(self, truth: Tensor, base: Tensor) -> Tensor:
        return truth

    def from_target(self, x_0: Tensor, base: Tensor) -> Tensor:
        """x_0 (B, C, padded, padded) to images (B, C, height, width) in [−1, 1]."""
        top, left = self.spec.margins
        return self.clip(x_0[..., top : top + self.spec.height, left : left + self.spec.width])

    def squash(self, x: Tensor) -> Tensor:
        return x.tanh()

    def clip(self, x_0: Tensor) -> Tensor:
        return x_0.clamp(-1, 1)
