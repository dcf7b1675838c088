"""Deterministic regression: the conditional mean by a U-Net, and where it is asked for the deviation of its error."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fdsr.diffusion import Likelihood, SquaredError
from fdsr.modules.codec import Batch, Codec, Encoded
from fdsr.modules.masking import cut, mean_present
from fdsr.modules.network import NetworkModule
from fdsr.modules.settings import require_instances


class RegressionModule(NetworkModule):
    """The backbone, trained on the target; it learns E[x_0 given the coarse field]. Deterministic: one member.

    With `GaussianLikelihood` it learns the deviation of x_0 around that as well, which `DressedModule` dresses it with, and
    which the second stage of a generative method may be divided by.

    Args:
        likelihood: what it says of x_0, and the loss that it learns it by.
        kwargs: what NetworkModule takes.
    """

    evaluations_per_member = 1
    ensemble_size = 1
    meaning = (*NetworkModule.meaning, "likelihood")

    def __init__(self, likelihood: Likelihood = SquaredError(), **kwargs: Any) -> None:
        require_instances({"likelihood": (likelihood, Likelihood)})
        super().__init__(**kwargs)
        self.likelihood = likelihood

    def output_channels(self, codec: Codec) -> int:
        return codec.channels * self.likelihood.outputs

    def build(self, codec: Codec) -> None:
        _ = self.fields  # images come without anything to regress on
        super().build(codec)

    def output(self, encoded: Encoded) -> Tensor:
        """What `likelihood` reads mean and deviation of x_0 from."""
        return self.evaluate(encoded.condition, None)

    def forward(self, encoded: Encoded) -> Tensor:
        """x̂_0 (B, C, H, W)."""
        return self.likelihood.mean(self.output(encoded))

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        encoded = self.fields.encode(batch)
        target, counted = self.fields.to_target(batch["high"], encoded), self.fields.counted(batch)
        loss = counted(self.likelihood.loss(self.output(encoded), target))
        return mean_present(loss, cut(counted, self.fields.present(batch)))

    @torch.no_grad()
    def moments(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        encoded = self.fields.encode(batch)
        output = self.output(encoded)
        deviation = self.likelihood.deviation(output)
        forecast = self.fields.from_target(self.likelihood.mean(output), encoded)
        return forecast, None if deviation is None else deviation * encoded.scale

    def generate(self, batch: Batch, members: int = 1, seed: int = 0) -> Tensor:
        forecast, conservation = self.moments(batch)[0], self.conserving(batch)
        return (forecast if conservation is None else conservation(forecast, batch["low"]))[:, None]
