"""FourierDDPMModule: diffusion whose noise or loss lives in an orthonormal transform of the field."""

from __future__ import annotations

from typing import Any

from fdsr.diffusion import ColouredNoise, Noise
from fdsr.modules.ddpm import DDPMModule


class FourierDDPMModule(DDPMModule):
    """Fourier diffusion: `DDPMModule` with noise of the target's own spectrum, unless told otherwise.

    What was once proposed as a method of its own is a choice of settings: the joint loss in space and in coefficients is
    `FourierReferenceLoss` with white noise; weighted, robust and spectrum-norm losses stand beside it in `fdsr.diffusion`. See
    `fdsr/diffusion/README.md` for what each can and cannot change.

    Args:
        kwargs: what DDPMModule takes.
    """

    def __init__(self, noise: Noise = ColouredNoise(), **kwargs: Any) -> None:
        super().__init__(noise=noise, **kwargs)
