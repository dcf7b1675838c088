"""FourierDDPMModule: diffusion whose noise or loss lives in an orthonormal transform of the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from fdsr.diffusion import Product
from fdsr.modules.codec import Codec
from fdsr.modules.ddpm import DDPMModule, choose
from fdsr.modules.fourier_modes import BASES, FOURIER_MODES, FourierMode


class FourierDDPMModule(DDPMModule):
    """Fourier diffusion; see `fdsr/diffusion/README.md` for the method and what each mode can and cannot change.

    Args beyond those of DDPMModule:
        mode: one of `fdsr.modules.fourier_modes.FOURIER_MODES`, whose docstrings say what each does. Arguments named after
            a mode are read by it alone.
        transform: `fourier`, `cosine`, `haar`, or `product`: cosine along latitude and, along longitude, Fourier where a row
            is a whole circle and cosine where it is not (patches, regions).
        transform_lon: another transform along longitude than along latitude; null: the same.
        colour, norm: `coloured`: exponent p of the noise, 0 (white) to 1 (the target's climatological spectrum); `plain`
            or `variational` norm.
        weight, weight_exponent, weight_bounds: `weighted`: `power_law` (k^p with this p) or `inverse_amplitude`
            (climatological), cut to these bounds, mean square 1.
        penalty, penalty_scale: `robust`: `charbonnier` with this ε, or `l1`. Biases the sampler.
        spectrum_strength, spectrum_bins: `spectrum_norm`: λ, to be quoted with every result, and the number of wavenumber
            bins.
    """

    def __init__(
        self,
        backbone: str = "unet",
        backbone_args: dict[str, Any] | None = None,
        mode: str = "coloured",
        transform: str = "fourier",
        transform_lon: str | None = None,
        colour: float = 1.0,
        norm: str = "plain",
        weight: str = "power_law",
        weight_exponent: float = 0.5,
        weight_bounds: tuple[float, float] = (0.1, 10.0),
        penalty: str = "charbonnier",
        penalty_scale: float = 1e-3,
        spectrum_strength: float = 0.01,
        spectrum_bins: int = 16,
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
        regression_ckpt: str | None = None,
        members: int = 8,
        member_batch: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(
            backbone, backbone_args, schedule=schedule, timesteps=timesteps, prediction=prediction, sampler=sampler,
            steps=steps, spacing=spacing, reverse_variance=reverse_variance, lr=lr, weight_decay=weight_decay, betas=betas,
            warmup_steps=warmup_steps, final_lr_fraction=final_lr_fraction, target=target,
            regression_ckpt=regression_ckpt, members=members, member_batch=member_batch, seed=seed,
        )  # fmt: skip
        settings = {
            "colour": colour, "norm": norm, "weight": weight, "weight_exponent": weight_exponent,
            "weight_bounds": weight_bounds, "penalty": penalty, "penalty_scale": penalty_scale,
            "spectrum_strength": spectrum_strength, "spectrum_bins": spectrum_bins,
        }  # fmt: skip
        self.mode: FourierMode = choose(FOURIER_MODES, mode, "model.mode").of(settings)
        self.basis = choose(BASES, transform, "model.transform")
        self.basis_lon = choose(BASES, transform_lon or transform, "model.transform_lon")

    def transform(self, codec: Codec) -> Any:
        """The transform f for these data."""
        return Product(lat=self.basis(codec), lon=self.basis_lon(codec))

    def make_noise(self, codec: Codec) -> Any:
        return self.mode.noise(codec, self.transform(codec))

    def make_objective(self, codec: Codec) -> Callable[..., Tensor]:
        return self.mode.objective(codec, self.transform(codec))
