"""Between physical fields and the standardised tensors that networks see."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.data.interpolate import upsample
from fdsr.data.spec import FieldSpec
from fdsr.data.values import apply_forward, apply_inverse
from fdsr.errors import FdsrError
from fdsr.modules.codec import Batch, Codec, Encoded

TARGETS = ("residual", "full")


class FieldCodec(Codec):
    """Standardises fields by the train block and turns them into the target a network predicts, and back.

    With target `residual` x_0 = (field − interpolated coarse field) / residual deviation, with `full` x_0 is the
    standardised field. Either has unit variance over the train block. Statistics are buffers outside the state dict:
    they travel in the checkpoint's FieldSpec.
    """

    mean: Tensor
    std: Tensor
    low_mean: Tensor
    low_std: Tensor
    target_std: Tensor
    index: Tensor
    has_base: Tensor

    def __init__(self, spec: FieldSpec, target: str = "residual", interpolation: str | None = None) -> None:
        super().__init__()
        if target not in TARGETS:
            raise FdsrError(f"target '{target}' is unknown; choose one of {', '.join(TARGETS)}")
        self.spec, self.target = spec, target
        self.channels = len(spec.high_channels)
        self.condition_channels = len(spec.low_channels) + len(spec.static_channels) + 3
        self.interpolation = interpolation or spec.interpolation
        column = {
            "mean": spec.high_mean,
            "std": spec.high_std,
            "low_mean": spec.low_mean,
            "low_std": spec.low_std,
            "target_std": spec.residual_std if target == "residual" else torch.ones_like(spec.residual_std),
        }
        for name, values in column.items():
            self.register_buffer(name, values.float()[:, None, None], persistent=False)
        self.register_buffer("index", torch.tensor(spec.base_index).clamp(min=0), persistent=False)
        self.register_buffer("has_base", (torch.tensor(spec.base_index) >= 0)[:, None, None], persistent=False)

    @property
    def power(self) -> Tensor:
        """Climatological power of the target (C, K_y, K_x), mean square orthonormal coefficient."""
        return self.spec.power_residual if self.target == "residual" else self.spec.power_field

    def wraps(self, x: Tensor) -> bool:
        """Whether the rows of x are whole circles of longitude."""
        return self.spec.periodic and x.shape[-1] == self.spec.shape[1]

    def encode(self, batch: Batch) -> Encoded:
        low = apply_forward(self.spec.low_transforms, batch["low"])
        fine = upsample(low, self.spec.factor, self.interpolation)
        base = torch.where(self.has_base, (fine[:, self.index] - self.mean) / self.std, 0.0)
        condition = torch.cat([(fine - self.low_mean) / self.low_std, batch["conditioning"]], dim=1)
        return Encoded(base, condition)

    def truth(self, batch: Batch) -> Tensor:
        return batch["high"]

    def to_target(self, truth: Tensor, base: Tensor) -> Tensor:
        """Fields in physical units (B, C, H, W) to x_0."""
        x = (apply_forward(self.spec.high_transforms, truth) - self.mean) / self.std
        return (x - base) / self.target_std if self.target == "residual" else x

    def from_target(self, x_0: Tensor, base: Tensor) -> Tensor:
        """x_0 (B, C, H, W) to fields in physical units, lower bounds applied."""
        x = base + x_0 * self.target_std if self.target == "residual" else x_0
        return apply_inverse(self.spec.high_transforms, x * self.std + self.mean)
