"""What a set of images is: the part of a data set that a model trained on it must carry."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TypedDict

import torch
from torch import Tensor

from fdsr.errors import FdsrError, require_alike


class ImageBatch(TypedDict, total=False):
    """Images with values in [−1, 1], −1 in the margin that pads them to the square the network sees."""

    image: Tensor  # (B, C, padded, padded) float32
    index: Tensor  # (B,) int64 position in the data set
    label: Tensor  # (B,) int64


@dataclass(frozen=True)
class ImageSpec:
    """Size of the images, and of the square to which they are padded for the network.

    channels, height, width: of an image as it is published and as it is drawn.
    padded: side of the square in which the network sees it, the image in the middle.
    mean, variance, power: of the training images in their square, where they have been measured: (C, padded, padded); (C,) about the
        mean, over all points; (C, padded, padded), mean square orthonormal cosine coefficient of image − mean over √variance.

    Raises FdsrError for sizes that are not positive or do not fit into the square.
    """

    channels: int
    height: int
    width: int
    padded: int
    mean: Tensor | None = field(default=None, compare=False, repr=False)
    variance: Tensor | None = field(default=None, compare=False, repr=False)
    power: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width) < 1 or self.padded < max(self.height, self.width):
            size = f"{self.channels} × {self.height} × {self.width}"
            raise FdsrError(f"images of {size} do not fit into a square of {self.padded}")

    @property
    def margins(self) -> tuple[int, int]:
        """Rows above and columns left of the image in its square; an odd remainder goes below and to the right."""
        return (self.padded - self.height) // 2, (self.padded - self.width) // 2

    @property
    def fingerprint(self) -> str:
        """A short name for the record of a run."""
        return f"images-{self.channels}x{self.height}x{self.width}-in-{self.padded}"

    def to_dict(self) -> dict[str, object]:
        """Plain numbers and tensors only: loads with `weights_only=True`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> ImageSpec:
        return cls(**data)

    def differences(self, other: object) -> list[str]:
        """What makes a model trained on `self` unfit for `other`, one short phrase each; empty if nothing does."""
        if not isinstance(other, ImageSpec):
            return ["images against weather fields"]
        different = [
            f"{f.name} {getattr(self, f.name)} against {getattr(other, f.name)}"
            for f in fields(self)
            if f.compare and getattr(self, f.name) != getattr(other, f.name)
        ]
        if (self.power is None) != (other.power is None):
            different.append(f"data.spectrum {self.power is not None} against {other.power is not None}")
        elif self.power is not None and other.power is not None and not different:
            pairs = [(self.mean, other.mean), (self.variance, other.variance)]
            if not all(torch.allclose(a.cpu(), b.cpu(), atol=1e-3) for a, b in pairs):  # type: ignore[union-attr]
                different.append("mean and variance of other training images")
        return different

    def require_same(self, other: object, where: str) -> None:
        """Raise FdsrError naming what differs between a checkpoint (`self`) and a data set (`other`)."""
        require_alike(self.differences(other), f"the images of '{where}'", "use those it was trained on")
