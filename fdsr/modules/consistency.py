"""ConsistencyModule: a trained DDPM tuned to draw a sample in one or two steps, without an adversary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fdsr.diffusion import LevelPairs, Renoising, Sampler, Step, consistency_loss
from fdsr.errors import FdsrError
from fdsr.modules.codec import Batch
from fdsr.modules.ddpm import VALIDATION_TIMES, DDPMModule
from fdsr.modules.from_ddpm import begin_network, read_ddpm
from fdsr.modules.masking import cut, neutral, points_over_present


class ConsistencyModule(DDPMModule):
    """Consistency tuning (Geng et al. 2024, ECT): see fdsr/diffusion/consistency.py.

    The network's x̂_0 becomes a consistency function. It should predict v, whose x̂_0 is x_0 where there is no noise. Two evaluations of
    the network a sample and batch, one of them with gradients. Training runs through `stages` of equal length; in the first it goes on
    as a denoiser at low noise, and in each further one the two levels lie nearer together.

    Args:
        from_ddpm: a checkpoint or model folder of a DDPMModule with the same backbone, VP schedule and prediction: its averaged weights
            are those that training begins with. Read when training begins; null begins from nothing.
        level_mean: mean of ln σ of the upper level, σ noise over signal; see `LevelPairs`.
        level_deviation: its standard deviation.
        shrink: by how much the gap between the levels shrinks from one stage to the next.
        stages: in how many steps the levels come together.
        huber: c of the norm, in units of x_0.
        timesteps: how many levels the VP schedule is cut into, of which the pairs are taken; many, since neighbours must lie close.
        sampler: `Renoising` in one or two steps.
        kwargs: what DDPMModule takes; `loss` and `times` have no effect.
    """

    def __init__(
        self,
        from_ddpm: str | None = None,
        level_mean: float = -1.1,
        level_deviation: float = 2.0,
        shrink: float = 2.0,
        stages: int = 8,
        huber: float = 1e-3,
        timesteps: int = 16_000,
        sampler: Sampler = Renoising(),
        lr: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(timesteps=timesteps, sampler=sampler, lr=lr, **kwargs)
        if stages < 1 or huber < 0 or level_deviation < 0 or shrink <= 1:
            raise FdsrError(
                "model: stages must be at least 1, shrink above 1, and huber and level_deviation must not be negative"
            )
        self.from_ddpm, self.stages, self.huber = from_ddpm, stages, huber
        self.pairs = LevelPairs(level_mean, level_deviation, shrink)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.from_ddpm is not None and self.begins:
            prediction = self.hparams["prediction"]
            ddpm = read_ddpm(self.from_ddpm, self, prediction, self.noise, self.precondition)
            begin_network(self.network, ddpm.network)

    @property
    def stage(self) -> int:
        """How far training is, 0 … stages − 1; the last one outside of training, and the first where it has no last step."""
        if self.trainer.state.fn != "fit":
            return self.stages - 1
        total = self.trainer.estimated_stepping_batches
        return 0 if math.isinf(total) else min(self.stages - 1, int(self.stages * self.trainer.global_step / total))

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        return self._loss_at([self.pairs.draw(self.process, len(batch["index"]), self.stage, rng)], batch, rng)

    def validation_loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """The mean loss at the gaps of the last stage over a fixed grid of levels: what falls is the network's, not the schedule's."""
        pairs = self.pairs.grid(self.process, VALIDATION_TIMES, self.stages - 1)
        count = len(batch["index"])
        steps = [Step(t.expand(count), s.expand(count)) for t, s in zip(pairs.t, pairs.s, strict=True)]
        return self._loss_at(steps, batch, rng)

    def _loss_at(self, steps: Sequence[Step], batch: Batch, rng: torch.Generator) -> Tensor:
        x_0, condition, present, counted = self.targets(batch)
        predict = self.predictor(condition)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return counted(neutral(self.parametrisation.to_x_0(self.process, predict(x_t, t), x_t, t), present))

        losses = []
        for step in steps:
            noise = self.process.colour(torch.randn(x_0.shape, generator=rng, device=x_0.device))
            losses.append(consistency_loss(denoise, x_0, counted(x_0), step, noise, self.process, self.huber))
        return torch.stack(losses).mean() * points_over_present(cut(counted, present))
