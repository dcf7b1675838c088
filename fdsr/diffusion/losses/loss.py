"""What a training loss of a diffusion is, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fdsr.diffusion.parametrisation import Parametrisation
from fdsr.diffusion.process import GaussianDiffusion

Predictor = Callable[[Tensor, Tensor], Tensor]
Draw = Callable[[], Tensor]


class Noised(NamedTuple):
    """A noised batch (B, C, H, W) and what the network should say of it, where that counts (B, C, h, w)."""

    x_t: Tensor
    target: Tensor


def everything(x: Tensor) -> Tensor:
    """x: all its points count."""
    return x


@dataclass(frozen=True)
class Denoising:
    """A batch to denoise.

    predict: predict(x_t, t), the network's raw output, in `parametrisation`, where it counts; batches of several noisy copies
        of x_0 may be given at once, first all of the first copy.
    x_0: clean fields (B, C, H, W).
    t: integers (B,) in 1..T.
    process: the diffusion, which colours its noise itself; its `spectrum` holds what is known of the data, basis f and power Λ.
    parametrisation: what the output means.
    draw: draw() gives white η ~ N(0, I) like x_0.
    counted: cuts fields like x_0 to the rectangle that a loss counts, as `predict` does its output; the rest is what surrounds it.
    """

    predict: Predictor
    x_0: Tensor
    t: Tensor
    process: GaussianDiffusion
    parametrisation: Parametrisation
    draw: Draw
    counted: Callable[[Tensor], Tensor] = everything

    def noised(self, eta: Tensor | None = None) -> Noised:
        """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) C^½ η and the parametrised target; η a fresh draw unless given."""
        noise = self.process.colour(self.draw() if eta is None else eta)
        x_t = self.process.q_sample(self.x_0, self.t, noise)
        target = self.parametrisation.target(self.process, self.x_0, noise, self.t)
        return Noised(x_t, self.counted(target))


class Loss(ABC):
    """A training loss; one of one's own implements `__call__`, or derives from `ErrorLoss`.

    The difference is taken in the dtype of x_0, so that a network under autocast is compared in float32.
    """

    @abstractmethod
    def __call__(self, task: Denoising) -> Tensor:
        """A scalar, the mean over a batch."""


class ErrorLoss(Loss):
    """A norm of the error, target − output (B, C, H, W), on one draw of noise."""

    @abstractmethod
    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        """A scalar."""

    def __call__(self, task: Denoising) -> Tensor:
        x_t, target = task.noised()
        return self.norm(target - task.predict(x_t, task.t), task.process)
