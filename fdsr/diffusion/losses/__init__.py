"""Training losses, one a file; see `Loss`."""

from fdsr.diffusion.losses.loss import Denoising, ErrorLoss, Loss, Predictor, everything
from fdsr.diffusion.losses.reference import FourierReferenceLoss
from fdsr.diffusion.losses.robust import RobustSpectralLoss
from fdsr.diffusion.losses.simple import SimpleLoss
from fdsr.diffusion.losses.spectrum_norm import SpectrumNormLoss
from fdsr.diffusion.losses.weighted import SpectralWeightedLoss
from fdsr.diffusion.losses.whitened import WhitenedLoss

__all__ = [
    "Denoising",
    "ErrorLoss",
    "FourierReferenceLoss",
    "Loss",
    "Predictor",
    "RobustSpectralLoss",
    "SimpleLoss",
    "SpectralWeightedLoss",
    "SpectrumNormLoss",
    "WhitenedLoss",
    "everything",
]
