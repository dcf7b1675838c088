"""Interpolation as a method of its own: the floor that everything is measured against."""

from __future__ import annotations

from torch import Tensor

from fdsr.data.choices import Interpolation
from fdsr.data.serving.datasets import WeatherBatch
from fdsr.errors import FdsrError
from fdsr.modules.conservation import ConserveName
from fdsr.modules.downscaling import DownscalingModule


class UntrainedModule(DownscalingModule):
    """A method that has nothing to train."""

    def on_fit_start(self) -> None:
        name = type(self).__name__.removesuffix("Module")
        raise FdsrError(f"{name} has nothing to train; run 'fdsr test' with this configuration instead of 'fit'")

    def training_step(self, *args: object) -> None:
        """Never reached; Lightning asks for it before `on_fit_start` may say so."""

    def configure_optimizers(self) -> None:
        return None


class InterpolationModule(UntrainedModule):
    """Interpolation of the coarse field, in transformed values. Deterministic; nothing to train.

    Args:
        method: how the coarse field is interpolated.
        conserve: as of every method, but not by itself: errors of other methods are counted in those of plain interpolation.
    """

    ensemble_size = 1

    def __init__(self, method: Interpolation = "bicubic", conserve: ConserveName = "none") -> None:
        super().__init__(target="full", conserve=conserve)
        self.interpolation = method

    def generate(self, batch: WeatherBatch, members: int = 1, seed: int = 0) -> Tensor:
        fine, conservation = self.fields.restore(self.fields.encode(batch).base), self.conserving(batch)
        return (fine if conservation is None else conservation(fine, batch["low"]))[:, None]
