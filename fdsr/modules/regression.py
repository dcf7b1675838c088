"""Deterministic regression: the conditional mean by a U-Net."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.modules.codec import Batch, Codec, Encoded
from fdsr.modules.masking import mean_present
from fdsr.modules.network import NetworkModule


class RegressionModule(NetworkModule):
    """The backbone, trained by mean squared error on the target; it learns E[x_0 given the coarse field].

    Takes the arguments of NetworkModule. Deterministic: one member.
    """

    def build(self, codec: Codec) -> None:
        _ = self.fields  # images come without anything to regress on
        super().build(codec)

    def forward(self, encoded: Encoded) -> Tensor:
        """x̂_0 (B, C, H, W)."""
        wrap = self.fields.wraps(encoded.condition)
        return self.network(encoded.condition, None, wrap=wrap).float()

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        encoded = self.fields.encode(batch)
        target = self.fields.to_target(batch["high"], encoded.base)
        return mean_present((self(encoded) - target).square(), self.fields.present(batch))

    @property
    def evaluations_per_member(self) -> int:
        return 1

    @torch.no_grad()
    def generate(self, batch: Batch, members: int = 1, seed: int = 0) -> Tensor:
        encoded = self.fields.encode(batch)
        return self.fields.from_target(self(encoded), encoded.base)[:, None]
