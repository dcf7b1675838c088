"""What a training loss of a diffusion is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from fdsr.diffusion.parametrisation import Parametrisation
from fdsr.diffusion.process import GaussianDiffusion

Predictor = Callable[[Tensor, Tensor], Tensor]
Draw = Callable[[], Tensor]


class Loss(ABC):
    """A training loss; one of one's own implements `__call__`, or derives from `ErrorLoss`.

    What a loss knows of the data, the basis f and the power Λ, it finds in `process.spectrum`.
    """

    @abstractmethod
    def __call__(
        self,
        predict: Predictor,
        x_0: Tensor,
        t: Tensor,
        process: GaussianDiffusion,
        parametrisation: Parametrisation,
        draw: Draw,
    ) -> Tensor:
        """A scalar, the mean over a batch.

        Args:
            predict: predict(x_t, t), the network's raw output, in `parametrisation`; batches of several noisy copies of x_0
                may be given at once, first all of the first copy.
            x_0: clean fields (B, C, H, W).
            t: integers (B,) in 1..T.
            process: the diffusion, which colours its noise itself.
            parametrisation: what the output means.
            draw: draw() gives white η ~ N(0, I) like x_0.

        The difference is taken in the dtype of x_0, so that a network under autocast is compared in float32.
        """


class Noised(NamedTuple):
    """A noised batch and what the network should say of it, both (B, C, H, W)."""

    x_t: Tensor
    target: Tensor


def noised(x_0: Tensor, t: Tensor, process: GaussianDiffusion, parametrisation: Parametrisation, eta: Tensor) -> Noised:
    """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) C^½ η and the parametrised target."""
    noise = process.colour(eta)
    return Noised(process.q_sample(x_0, t, noise), parametrisation.target(process, x_0, noise, t))


class ErrorLoss(Loss):
    """A norm of the error, target − output (B, C, H, W), on one draw of noise."""

    @abstractmethod
    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        """A scalar."""

    def __call__(
        self,
        predict: Predictor,
        x_0: Tensor,
        t: Tensor,
        process: GaussianDiffusion,
        parametrisation: Parametrisation,
        draw: Draw,
    ) -> Tensor:
        x_t, target = noised(x_0, t, process, parametrisation, draw())
        return self.norm(target - predict(x_t, t), process)
