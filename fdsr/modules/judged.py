"""How well a discriminator tells real pairs from generated ones, by diffusion time."""

from __future__ import annotations

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from fdsr.diffusion import Divergence


class Judged:
    """Sums over the pairs judged since they were last collected; those of several processes add up.

    d_accuracy_t{t}: share of pairs held rightly for real or generated, ½ where nothing is told apart. d_gap_t{t}: mean V of real
    pairs minus that of generated ones, above 0 where real pairs are held for real, whichever sign that has in a divergence.

    bins: stretches of time of equal length that 1..T is cut into, and told apart by; every t by itself where T is not given.
    """

    def __init__(self, divergence: Divergence, bins: int, T: int | None = None) -> None:
        self.divergence, self.bins, self.T = divergence, bins, bins if T is None else T
        real_is_high = bool(divergence.judges_real(torch.tensor(100.0)))
        self.sign = 1.0 if real_is_high else -1.0
        self.sums = torch.zeros(bins, 3)  # by t: pairs, share held rightly, gap

    def add(self, t: Tensor, v_real: Tensor, v_fake: Tensor) -> None:
        """t, v_real, v_fake (B,): a real and a generated pair at each t."""
        right = self.divergence.judges_real(v_real).float() + (~self.divergence.judges_real(v_fake)).float()
        facts = torch.stack([torch.ones_like(right), 0.5 * right, self.sign * (v_real - v_fake)], dim=1)
        self.sums = self.sums.to(t.device).index_add_(0, (t * self.bins - 1) // self.T, facts)

    def collect(self, strategy: Strategy) -> dict[str, float]:
        """Means over the pairs of all processes, and begin anew; a t that was not drawn is left out. A collective call."""
        total = strategy.reduce(self.sums.clone(), reduce_op="sum")
        assert isinstance(total, Tensor)
        self.sums.zero_()
        values: dict[str, float] = {}
        for t, (count, right, gap) in enumerate(total.tolist(), start=1):
            if count:
                values |= {f"d_accuracy_t{t}": right / count, f"d_gap_t{t}": gap / count}
        return values
