"""LevelPairDDGANModule: one denoising diffusion GAN for every number of steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fdsr.diffusion import Pair, Step, vp_schedule
from fdsr.diffusion.losses.loss import everything
from fdsr.errors import FdsrError
from fdsr.modules.adversarial import AdversarialModule
from fdsr.modules.codec import Codec, Cut
from fdsr.modules.ddgan import DDGANModule
from fdsr.modules.judged import Judged


class LevelPairDDGANModule(DDGANModule):
    """A DDGAN whose two networks know both noise levels of a step, trained over the steps of all T up to `most_timesteps`.

    Each sample of a batch is trained at a T of its own, each as often, and at one of its steps k: from t = k/T to s = (k − 1)/T
    of the VP schedule, whose levels depend on these shares alone. Networks see the time of t and, as a further channel, the length
    of the step, 1/T. Trained once, it draws samples in any T steps: `timesteps` may change from one test to the next. What is
    logged by t is by tenths of the schedule.

    Args:
        timesteps: T of the samples that are drawn, up to `most_timesteps`; training does not depend on it.
        most_timesteps: the largest T that is trained.
        kwargs: what DDGANModule takes; `times` has no effect.
    """

    meaning = (*AdversarialModule.meaning, "most_timesteps", "prediction")

    def __init__(self, timesteps: int = 4, most_timesteps: int = 10, **kwargs: Any) -> None:
        super().__init__(timesteps=timesteps, **kwargs)
        if not timesteps <= most_timesteps <= 16:
            raise FdsrError(
                f"model.timesteps is {timesteps} and model.most_timesteps {most_timesteps}; it must lie between that and 16"
            )
        self.most_timesteps = most_timesteps
        # every k/T is a whole number of these
        self.schedule = vp_schedule(math.lcm(*range(1, most_timesteps + 1)))
        self.judged = Judged(self.divergence, 10, self.schedule.T)

    def input_channels(self, codec: Codec) -> int:
        return super().input_channels(codec) + 1

    def predict(self, x_t: Tensor, step: Step, z: Tensor | None, condition: Tensor) -> Tensor:
        return super().predict(x_t, step, z, self._with_length(condition, step))

    def judge(self, pair: Pair, step: Step, condition: Tensor, counted: Cut = everything) -> Tensor:
        return super().judge(pair, step, self._with_length(condition, step), counted)

    def draw_steps(self, count: int, rng: torch.Generator) -> Step:
        T = torch.randint(1, self.most_timesteps + 1, (count,), generator=rng, device=rng.device)
        k = 1 + (torch.rand(count, generator=rng, device=rng.device) * T).long().clamp(max=T - 1)
        stride = self.schedule.T // T
        return Step(k * stride, (k - 1) * stride)

    def even_steps(self, index: Tensor) -> Step:
        T = 1 + index % self.most_timesteps
        k, stride = 1 + index // self.most_timesteps % T, self.schedule.T // T
        return Step(k * stride, (k - 1) * stride)

    def _with_length(self, condition: Tensor, step: Step) -> Tensor:
        """The condition and one more channel after it: t − s as a share of the schedule, the same everywhere."""
        share = (step.t - step.s).to(condition.dtype) / self.schedule.T
        plane = share[:, None, None, None].expand(-1, 1, *condition.shape[-2:])
        return torch.cat([condition, plane], dim=1)
