"""What is known before any training: how much of the denoiser's work the network is spared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from fdsr.diffusion.losses.loss import Predictor
from fdsr.diffusion.parametrisation import Parametrisation
from fdsr.diffusion.process import GaussianDiffusion


class Preconditioning(ABC):
    """How a network's raw output becomes a prediction in `parametrisation`: a fixed part that needs no weights, and its own."""

    @abstractmethod
    def wrap(self, network: Predictor, process: GaussianDiffusion, parametrisation: Parametrisation) -> Predictor:
        """The predictor that losses and samplers see: (x_t (B, C, H, W), t (B,)) → output of the parametrisation."""


@dataclass(frozen=True)
class NoPreconditioning(Preconditioning):
    """The network predicts everything."""

    def wrap(self, network: Predictor, process: GaussianDiffusion, parametrisation: Parametrisation) -> Predictor:
        return network
