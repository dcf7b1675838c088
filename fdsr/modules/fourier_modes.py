"""The modes of Fourier diffusion, each with its own settings, and the transforms they work in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from fdsr.diffusion import (
    TRANSFORMS,
    ColouredNoise,
    Cosine,
    FourierReferenceLoss,
    Globe,
    InverseAmplitudeWeight,
    Loss,
    Noise,
    PowerLawWeight,
    RobustSpectralLoss,
    SimpleLoss,
    SpectralWeight,
    SpectralWeightedLoss,
    SpectrumNormLoss,
    Transform,
    WhitenedLoss,
    WhiteNoise,
)
from fdsr.modules.codec import Codec
from fdsr.modules.ddpm import choose
from fdsr.modules.field_codec import FieldCodec


def _globe(codec: Codec) -> Transform:
    """Periodic only where the grid is."""
    if isinstance(codec, FieldCodec) and codec.spec.periodic:
        return Globe(codec.spec.shape[1])
    return Cosine()


# name of a transform → the transform for the data of a codec
BASES: dict[str, Callable[[Codec], Transform]] = {
    **{name: lambda codec, cls=cls: cls() for name, cls in TRANSFORMS.items()},  # type: ignore[misc]
    "product": _globe,
}


@dataclass(frozen=True)
class FourierMode(ABC):
    """How a mode departs from DDPM: its noise and its loss. Fields are those arguments of FourierDDPMModule it reads."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> FourierMode:
        """The mode with its own of the module's settings."""
        return cls(**{f.name: settings[f.name] for f in fields(cls)})

    def noise(self, codec: Codec, transform: Transform) -> Noise:
        """The noise of the process, white by default."""
        return WhiteNoise()

    @abstractmethod
    def objective(self, codec: Codec, transform: Transform) -> Loss:
        """The training loss. Raises ValueError for settings that the mathematics refuses."""


@dataclass(frozen=True)
class Reference(FourierMode):
    """Both terms of the joint loss as first proposed: DDPM with two draws of noise a sample (`draws: 2` of DDPMModule)."""

    def objective(self, codec: Codec, transform: Transform) -> Loss:
        return FourierReferenceLoss(transform)


def _power_law(codec: Codec, mode: Weighted) -> SpectralWeight:
    return PowerLawWeight(mode.weight_exponent, *mode.weight_bounds)


def _inverse_amplitude(codec: Codec, mode: Weighted) -> SpectralWeight:
    return InverseAmplitudeWeight(codec.power, *mode.weight_bounds)


@dataclass(frozen=True)
class Weighted(FourierMode):
    """White noise; the loss tells a finite network on which scales to spend itself. The minimiser stays the same."""

    weight: str
    weight_exponent: float
    weight_bounds: tuple[float, float]

    def __post_init__(self) -> None:
        choose(WEIGHTS, self.weight, "model.weight")

    def objective(self, codec: Codec, transform: Transform) -> Loss:
        return SpectralWeightedLoss(transform, WEIGHTS[self.weight](codec, self))


WEIGHTS: dict[str, Callable[[Codec, Weighted], SpectralWeight]] = {
    "power_law": _power_law,
    "inverse_amplitude": _inverse_amplitude,
}


@dataclass(frozen=True)
class Robust(FourierMode):
    """White noise, L1 or Charbonnier on the coefficients of the error. The sampler is biased, see `RobustSpectralLoss`."""

    penalty: str
    penalty_scale: float

    def objective(self, codec: Codec, transform: Transform) -> Loss:
        return RobustSpectralLoss(transform, self.penalty_scale, self.penalty)


@dataclass(frozen=True)
class SpectrumNorm(FourierMode):
    """White noise; the plain loss and λ times the squared difference of binned log power of x̂_0 and x_0."""

    spectrum_strength: float
    spectrum_bins: int

    def objective(self, codec: Codec, transform: Transform) -> Loss:
        return SpectrumNormLoss(transform, self.spectrum_strength, self.spectrum_bins)


NORMS: dict[str, Callable[[], Loss]] = {"plain": SimpleLoss, "variational": WhitenedLoss}


@dataclass(frozen=True)
class Coloured(FourierMode):
    """Noise with a power p of the target's own spectrum; at p = 1 every scale loses its signal at the same rate."""

    colour: float
    norm: str

    def __post_init__(self) -> None:
        choose(NORMS, self.norm, "model.norm")

    def noise(self, codec: Codec, transform: Transform) -> Noise:
        return ColouredNoise(transform, codec.power.float(), exponent=self.colour)

    def objective(self, codec: Codec, transform: Transform) -> Loss:
        return NORMS[self.norm]()


FOURIER_MODES: dict[str, type[FourierMode]] = {
    "reference": Reference,
    "weighted": Weighted,
    "robust": Robust,
    "spectrum_norm": SpectrumNorm,
    "coloured": Coloured,
}
