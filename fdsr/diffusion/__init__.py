"""The mathematics of diffusion with orthonormal transforms: torch alone, no training code. See README.md here."""

from fdsr.diffusion.denoising_gan import Pair, fake_pair, r1_penalty, real_pair
from fdsr.diffusion.divergences import DIVERGENCES, Divergence
from fdsr.diffusion.losses import (
    LOSSES,
    PENALTIES,
    FourierReferenceLoss,
    Loss,
    RobustSpectralLoss,
    SimpleLoss,
    SpectralWeightedLoss,
    SpectrumNormLoss,
    WhitenedLoss,
)
from fdsr.diffusion.noise import ColouredNoise, Noise, WhiteNoise
from fdsr.diffusion.parametrisation import PARAMETRISATIONS, Parametrisation
from fdsr.diffusion.process import REVERSE_VARIANCES, Gaussian, GaussianDiffusion
from fdsr.diffusion.samplers import SAMPLERS, ancestral, ddim, dpmsolverpp
from fdsr.diffusion.schedules import SCHEDULES, Schedule, cosine_schedule, linear_schedule, vp_schedule
from fdsr.diffusion.spacing import SPACINGS, timesteps
from fdsr.diffusion.times import Times
from fdsr.diffusion.transforms import TRANSFORMS, Cosine, Globe, Haar, Product, RealFourier, Transform
from fdsr.diffusion.weights import InverseAmplitudeWeight, PowerLawWeight, SpectralWeight

__all__ = [
    "DIVERGENCES",
    "LOSSES",
    "PARAMETRISATIONS",
    "PENALTIES",
    "REVERSE_VARIANCES",
    "SAMPLERS",
    "SCHEDULES",
    "SPACINGS",
    "TRANSFORMS",
    "ColouredNoise",
    "Cosine",
    "Divergence",
    "FourierReferenceLoss",
    "Gaussian",
    "GaussianDiffusion",
    "Globe",
    "Haar",
    "InverseAmplitudeWeight",
    "Loss",
    "Noise",
    "Pair",
    "Parametrisation",
    "PowerLawWeight",
    "Product",
    "RealFourier",
    "RobustSpectralLoss",
    "Schedule",
    "SimpleLoss",
    "SpectralWeight",
    "SpectralWeightedLoss",
    "SpectrumNormLoss",
    "Times",
    "Transform",
    "WhiteNoise",
    "WhitenedLoss",
    "ancestral",
    "cosine_schedule",
    "ddim",
    "dpmsolverpp",
    "fake_pair",
    "linear_schedule",
    "r1_penalty",
    "real_pair",
    "timesteps",
    "vp_schedule",
]
