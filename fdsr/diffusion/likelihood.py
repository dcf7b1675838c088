"""What a regression says of its target, a mean alone or a whole distribution, and the loss that it learns it by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

_RANGE = 4.0  # deviations lie between e^−4 and e^4: none is so small or large that one point decides a batch


class Likelihood(ABC):
    """How a network's output (B, outputs · C, H, W) is read, and what it costs."""

    outputs: ClassVar[int]  # of the network, per channel of the target

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """Its mean (B, C, H, W)."""

    def deviation(self, output: Tensor) -> Tensor | None:
        """Its standard deviation (B, C, H, W); None where it says nothing of that."""
        return None

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss at each point (B, C, H, W)."""


@dataclass(frozen=True)
class SquaredError(Likelihood):
    """(x − μ)²: the network is the conditional mean."""

    outputs: ClassVar[int] = 1

    def mean(self, output: Tensor) -> Tensor:
        return output

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square()


@dataclass(frozen=True)
class GaussianLikelihood(Likelihood):
    """Mean and deviation of a Gaussian at each point, by the β-NLL of Seitzer et al. 2022:

        L = ⌊σ^{2β}⌋ ( ln σ + (x − μ)² / (2σ²) ),

    ⌊·⌋ without gradient. With β = 0 it is the log-likelihood, whose gradient of μ is divided by σ²: points that are hard to
    predict are given up. With β = 1 μ learns as from a squared error; ½ lies between. A zero output is μ = 0, σ = 1.

    Args:
        beta: β, from 0 to 1.
    """

    beta: float = 0.5

    outputs: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta must lie in [0, 1], not {self.beta}")

    def mean(self, output: Tensor) -> Tensor:
        return output.chunk(2, dim=1)[0]

    def deviation(self, output: Tensor) -> Tensor:
        return self._log_deviation(output).exp()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        log_deviation = self._log_deviation(output)
        nll = log_deviation + 0.5 * (target - self.mean(output)).square() * (-2 * log_deviation).exp()
        return nll * (2 * self.beta * log_deviation.detach()).exp()

    def _log_deviation(self, output: Tensor) -> Tensor:
        return _RANGE * torch.tanh(output.chunk(2, dim=1)[1] / _RANGE)
