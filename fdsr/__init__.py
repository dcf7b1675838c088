"""fdsr: probabilistic weather super-resolution by Fourier diffusion, and few-step denoising diffusion GANs.

import fdsr
fine = fdsr.load("experiments/pretrained/two_stages_x4").downscale(coarse, members=8)
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # torch is imported when the first model is loaded
    if name == "load":
        return import_module("fdsr.modules.model").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
