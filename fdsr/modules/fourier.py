"""FourierDDPMModule: diffusion whose noise or loss lives in an orthonormal transform of the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fdsr.diffusion import (
    TRANSFORMS,
    ColouredNoise,
    FourierReferenceLoss,
    PowerLawWeight,
    SimpleLoss,
    SpectralWeightedLoss,
    WhiteNoise,
)
from fdsr.modules.codec import Codec
from fdsr.modules.ddpm import DDPMModule, choose


@dataclass(frozen=True)
class FourierSettings:
    """What the modes may be tuned by: the transform, the colour of the noise, and the weight's power of wavenumber."""

    transform: Any
    colour: float
    weight_exponent: float


@dataclass(frozen=True)
class FourierMode:
    """How a mode departs from DDPM: its noise and its loss."""

    noise: Callable[[Codec, FourierSettings], Any]
    objective: Callable[[Codec, FourierSettings], Callable[..., Tensor]]


def _white(codec: Codec, settings: FourierSettings) -> Any:
    return WhiteNoise()


def _coloured(codec: Codec, settings: FourierSettings) -> Any:
    return ColouredNoise(settings.transform, codec.power.float(), exponent=settings.colour)


FOURIER_MODES: dict[str, FourierMode] = {
    # both terms of the joint loss; equal in expectation to DDPM with two draws a sample
    "reference": FourierMode(_white, lambda codec, s: FourierReferenceLoss(s.transform)),
    # a finite network is told which scales to spend itself on
    "weighted": FourierMode(
        _white, lambda codec, s: SpectralWeightedLoss(s.transform, PowerLawWeight(s.weight_exponent))
    ),
    # noise with the target's own spectrum: every scale loses its signal at the same rate
    "coloured": FourierMode(_coloured, lambda codec, s: SimpleLoss()),
}


class FourierDDPMModule(DDPMModule):
    """Fourier diffusion; see `fdsr/diffusion/README.md` for the method and what each mode can and cannot change.

    Args beyond those of DDPMModule:
        mode: `coloured`, `weighted` or `reference`.
        transform: `fourier`, `cosine` or `haar`.
        colour: exponent p of the coloured noise, 0 (white) to 1 (the target's climatological spectrum).
        weight_exponent: p of the weight k^p in mode `weighted`.
    """

    def __init__(
        self,
        backbone: str = "unet",
        backbone_args: dict[str, Any] | None = None,
        mode: str = "coloured",
        transform: str = "fourier",
        colour: float = 1.0,
        weight_exponent: float = 0.5,
        schedule: str = "vp",
        timesteps: int = 1000,
        prediction: str = "v",
        sampler: str = "dpmsolver++",
        steps: int = 12,
        spacing: str = "uniform",
        reverse_variance: str = "posterior",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.99),
        warmup_steps: int = 100,
        final_lr_fraction: float = 0.02,
        target: str = "residual",
        members: int = 8,
        member_batch: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(
            backbone, backbone_args, schedule=schedule, timesteps=timesteps, prediction=prediction, sampler=sampler,
            steps=steps, spacing=spacing, reverse_variance=reverse_variance, lr=lr, weight_decay=weight_decay, betas=betas,
            warmup_steps=warmup_steps, final_lr_fraction=final_lr_fraction, target=target, members=members,
            member_batch=member_batch, seed=seed,
        )  # fmt: skip
        self.mode: FourierMode = choose(FOURIER_MODES, mode, "model.mode")
        self.settings = FourierSettings(choose(TRANSFORMS, transform, "model.transform")(), colour, weight_exponent)

    def make_noise(self, codec: Codec) -> Any:
        return self.mode.noise(codec, self.settings)

    def make_objective(self, codec: Codec) -> Callable[..., Tensor]:
        return self.mode.objective(codec, self.settings)
