"""What the network predicts: the noise ε, the clean field x_0, or v. All are linear views of one pair (x_0, ε)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from fdsr.diffusion.process import GaussianDiffusion


class Parametrisation(Protocol):
    """`target` is what the network is trained towards, `to_x_0` turns its output at (x_t, t) into x̂_0; all (B, ...)."""

    def target(self, process: GaussianDiffusion, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor: ...

    def to_x_0(self, process: GaussianDiffusion, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor: ...


class PredictEps:
    """The network predicts ε (Ho et al. 2020, eq. 14). x̂_0 divides by √ᾱ_t, so errors at large t are magnified."""

    def target(self, process: GaussianDiffusion, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise

    def to_x_0(self, process: GaussianDiffusion, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return process.x_0_from_eps(x_t, t, output)


class PredictX0:
    """The network predicts x_0."""

    def target(self, process: GaussianDiffusion, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return x_0

    def to_x_0(self, process: GaussianDiffusion, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return output


class PredictV:
    """The network predicts v = √ᾱ_t ε − √(1 − ᾱ_t) x_0 (Salimans & Ho 2022): well conditioned at both ends of t."""

    def target(self, process: GaussianDiffusion, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return process.v(x_0, t, noise)

    def to_x_0(self, process: GaussianDiffusion, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return process.x_0_from_v(x_t, t, output)


PARAMETRISATIONS: dict[str, Parametrisation] = {"eps": PredictEps(), "x0": PredictX0(), "v": PredictV()}
