"""What a set of images is: the part of a data set that a model trained on it must carry."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TypedDict

from torch import Tensor

from fdsr.errors import FdsrError


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

    Raises FdsrError for sizes that are not positive or do not fit into the square.
    """

    channels: int
    height: int
    width: int
    padded: int

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width) < 1 or self.padded < max(self.height, self.width):
            raise FdsrError(
                f"images of {self.channels} × {self.height} × {self.width} do not fit into a square of {self.padded}"
            )

    @property
    def margins(self) -> tuple[int, int]:
        """Rows above and columns left of the image in its square; an odd remainder goes below and to the right."""
        return (self.padded - self.height) // 2, (self.padded - self.width) // 2

    @property
    def fingerprint(self) -> str:
        """A short name for the record of a run."""
        return f"images-{self.channels}x{self.height}x{self.width}-in-{self.padded}"

    def to_dict(self) -> dict[str, object]:
        """Plain numbers only: loads with `weights_only=True`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> ImageSpec:
        return cls(**data)

    def differences(self, other: object) -> list[str]:
        """What makes a model trained on `self` unfit for `other`, one short phrase each; empty if nothing does."""
        if not isinstance(other, ImageSpec):
            return ["images against weather fields"]
        theirs = asdict(other)
        return [
            f"{name} {value} against {theirs[name]}" for name, value in asdict(self).items() if value != theirs[name]
        ]

    def require_same(self, other: object, where: str) -> None:
        """Raise FdsrError naming what differs between a checkpoint (`self`) and a data set (`other`)."""
        different = self.differences(other)
        if different:
            raise FdsrError(
                f"checkpoint does not match the images of '{where}': {'; '.join(different)}; use those it was trained on"
            )
