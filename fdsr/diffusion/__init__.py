"""The mathematics of diffusion with orthonormal transforms: torch alone, no training code. See README.md here."""

from fdsr.diffusion.consistency import LevelPairs, consistency_loss
from fdsr.diffusion.denoising_gan import Pair, Step, fake_pair, r1_penalty, real_pair
from fdsr.diffusion.divergences import DIVERGENCES, Divergence
from fdsr.diffusion.ensemble_scores import BlockCRPS, CoefficientCRPS, ScoreTerm, fair_crps
from fdsr.diffusion.likelihood import GaussianLikelihood, Likelihood, SquaredError
from fdsr.diffusion.losses.loss import Denoising, ErrorLoss, Loss
from fdsr.diffusion.losses.reference import FourierReferenceLoss
from fdsr.diffusion.losses.robust import RobustSpectralLoss
from fdsr.diffusion.losses.simple import SimpleLoss
from fdsr.diffusion.losses.spectrum_norm import SpectrumNormLoss
from fdsr.diffusion.losses.weighted import SpectralWeightedLoss
from fdsr.diffusion.losses.whitened import WhitenedLoss
from fdsr.diffusion.noise import ColouredNoise, Noise, WhiteNoise
from fdsr.diffusion.parametrisation import PARAMETRISATIONS, Parametrisation
from fdsr.diffusion.preconditioning import (
    NoPreconditioning,
    Preconditioning,
    ScalarPreconditioning,
    SpectralPreconditioning,
)
from fdsr.diffusion.process import REVERSE_VARIANCES, Gaussian, GaussianDiffusion
from fdsr.diffusion.samplers import DDIM, Ancestral, DPMSolverPP, Renoising, Sampler
from fdsr.diffusion.schedules import SCHEDULES, Schedule, cosine_schedule, linear_schedule, vp_schedule
from fdsr.diffusion.spacing import SPACINGS, timesteps
from fdsr.diffusion.spectrum import Spectrum
from fdsr.diffusion.times import LogitNormalTimes, SignalTimes, StratifiedTimes, TimeSampling
from fdsr.diffusion.transforms import Cosine, Globe, Haar, Product, RealFourier, Transform
from fdsr.diffusion.weights import InverseAmplitudeWeight, PowerLawWeight, SpectralWeight

__all__ = [
    "DDIM",
    "DIVERGENCES",
    "PARAMETRISATIONS",
    "REVERSE_VARIANCES",
    "SCHEDULES",
    "SPACINGS",
    "Ancestral",
    "BlockCRPS",
    "CoefficientCRPS",
    "ColouredNoise",
    "Cosine",
    "DPMSolverPP",
    "Denoising",
    "Divergence",
    "ErrorLoss",
    "FourierReferenceLoss",
    "Gaussian",
    "GaussianDiffusion",
    "GaussianLikelihood",
    "Globe",
    "Haar",
    "InverseAmplitudeWeight",
    "LevelPairs",
    "Likelihood",
    "LogitNormalTimes",
    "Loss",
    "NoPreconditioning",
    "Noise",
    "Pair",
    "Parametrisation",
    "PowerLawWeight",
    "Preconditioning",
    "Product",
    "RealFourier",
    "Renoising",
    "RobustSpectralLoss",
    "Sampler",
    "ScalarPreconditioning",
    "Schedule",
    "ScoreTerm",
    "SignalTimes",
    "SimpleLoss",
    "SpectralPreconditioning",
    "SpectralWeight",
    "SpectralWeightedLoss",
    "Spectrum",
    "SpectrumNormLoss",
    "SquaredError",
    "Step",
    "StratifiedTimes",
    "TimeSampling",
    "Transform",
    "WhiteNoise",
    "WhitenedLoss",
    "consistency_loss",
    "cosine_schedule",
    "fair_crps",
    "fake_pair",
    "linear_schedule",
    "r1_penalty",
    "real_pair",
    "timesteps",
    "vp_schedule",
]
