"""Images as targets: unconditional, already in [−1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.data.image_spec import ImageSpec
from fdsr.diffusion import Spectrum, Transform
from fdsr.errors import FdsrError
from fdsr.modules.codec import Batch, Codec, Encoded
from fdsr.modules.first_stage import FirstStage


class ImageCodec(Codec):
    """x_0 is the padded image itself; what is drawn is cropped to the image's own size and cut to [−1, 1].

    There is no coarse field to start from, so `target`, `interpolation` and `stage_condition` of a method mean nothing here.
    """

    condition_channels = 0

    def __init__(
        self,
        spec: ImageSpec,
        target: str = "full",
        interpolation: str | None = None,
        stage: FirstStage | None = None,
        local_scale: str = "none",
        stage_condition: bool = True,
    ) -> None:
        super().__init__()
        if local_scale != "none":
            raise FdsrError(f"model.local_scale is '{local_scale}', but images have no local scale; leave it out")
        self.spec, self.channels = spec, spec.channels

    def encode(self, batch: Batch) -> Encoded:
        return self.blank(len(batch["image"]), batch["image"].device)

    def blank(self, count: int, device: torch.device) -> Encoded:
        """The base and the condition of `count` images, which tell nothing."""
        side = self.spec.padded
        base = torch.zeros(count, self.channels, side, side, device=device)
        return Encoded(base, base[:, :0], torch.ones(1, 1, 1, 1, device=device))

    def truth(self, batch: Batch) -> Tensor:
        return batch["image"]

    def to_target(self, truth: Tensor, encoded: Encoded) -> Tensor:
        return truth

    def from_target(self, x_0: Tensor, encoded: Encoded) -> Tensor:
        """x_0 (B, C, padded, padded) to images (B, C, height, width) in [−1, 1]."""
        top, left = self.spec.margins
        return self.clip(x_0[..., top : top + self.spec.height, left : left + self.spec.width])

    def spectrum(self, transform: Transform) -> Spectrum:
        """With the power of the training images about their mean, where the data module has measured it."""
        return Spectrum(transform, self.spec.power, self.spec.variance, self.spec.mean)

    def squash(self, x: Tensor) -> Tensor:
        return x.tanh()

    def clip(self, x_0: Tensor) -> Tensor:
        return x_0.clamp(-1, 1)
