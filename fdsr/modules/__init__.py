"""LightningModules: every method of the comparison, sharing fields, evaluation and the backbone registry."""

from fdsr.modules.consistency import ConsistencyModule
from fdsr.modules.crps import CRPSModule
from fdsr.modules.ddgan import DDGANModule
from fdsr.modules.ddpm import DDPMModule
from fdsr.modules.downscaling import DownscalingModule
from fdsr.modules.dressed import DressedModule
from fdsr.modules.fourier import FourierDDPMModule
from fdsr.modules.generative import GenerativeModule
from fdsr.modules.interpolation import InterpolationModule
from fdsr.modules.level_pairs import LevelPairDDGANModule
from fdsr.modules.network import NetworkModule
from fdsr.modules.pretrained import load_module, save_pretrained
from fdsr.modules.rainfarm import RainFARMModule
from fdsr.modules.regression import RegressionModule

__all__ = [
    "CRPSModule",
    "ConsistencyModule",
    "DDGANModule",
    "DDPMModule",
    "DownscalingModule",
    "DressedModule",
    "FourierDDPMModule",
    "GenerativeModule",
    "InterpolationModule",
    "LevelPairDDGANModule",
    "NetworkModule",
    "RainFARMModule",
    "RegressionModule",
    "load_module",
    "save_pretrained",
]
