"""Proper scores as training losses of an ensemble: the fair CRPS at points, of coefficients, of block means.

With M members x_m of one sample and the truth y the fair CRPS is mean_m |x_m − y| − Σ_{m<n} |x_m − x_n| / (M(M − 1)), whose
expectation is the CRPS of the distribution that the members are drawn from (Ferro 2014, doi:10.1002/qj.2270), least where
that is the truth's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fdsr.diffusion.spectrum import Spectrum


def fair_crps(members: Tensor, truth: Tensor) -> Tensor:
    """Members (M, ...), truth (...): the score of each element (...). Raises ValueError unless M >= 2."""
    count = members.shape[0]
    if count < 2:
        raise ValueError(f"the fair CRPS needs at least 2 members, not {count}")
    error = (members - truth).abs().mean(0)
    distance = torch.zeros_like(error)
    for m in range(1, count):
        distance = distance + (members[:m] - members[m]).abs().sum(0)
    return error - distance / (count * (count - 1))


class ScoreTerm(ABC):
    """A proper score of ensembles, beside that at points: what it sees of a field decides which errors of the joint
    distribution it can tell."""

    @abstractmethod
    def __call__(self, members: Tensor, truth: Tensor, spectrum: Spectrum) -> Tensor:
        """Mean over the batch, a scalar. members (M, B, C, H, W), truth (B, C, H, W) of the normalised target."""


@dataclass(frozen=True)
class CoefficientCRPS(ScoreTerm):
    """mean_k w_k fairCRPS(f x, f y), w_k ∝ Λ_k^{−1/2} with mean 1: every coefficient in units of its climatological amplitude.

    With a mean of 1 in each channel λ weighs it against the points alike whatever the archive: Λ^{−1/2} has a mean of 2 on weather at 1°
    and of 8 where spectra are steep.

    |·| is not invariant under rotation, so that, unlike a squared error's, this term is not the pointwise one again: it scores the
    marginal of every coefficient, and so the spectrum, which no function of the marginals at points can see.
    """

    def __call__(self, members: Tensor, truth: Tensor, spectrum: Spectrum) -> Tensor:
        f, shape = spectrum.transform, (truth.shape[-2], truth.shape[-1])
        weight = spectrum.remember(
            ("inverse amplitude", shape), truth, lambda: _of_mean_one(spectrum.power(shape) ** -0.5)
        )
        return (weight * fair_crps(f.forward(members), f.forward(truth))).mean()


def _of_mean_one(weight: Tensor) -> Tensor:
    return weight / weight.mean((-2, -1), keepdim=True)


@dataclass(frozen=True)
class BlockCRPS(ScoreTerm):
    """Mean over `sizes` of the fair CRPS of means over blocks of n × n points, in units of the target's deviation.

    Args:
        sizes: sides n of the blocks; a last incomplete row or column of blocks is left out.
    """

    sizes: tuple[int, ...] = (2, 4, 8)

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 2:
            raise ValueError(f"blocks need sides of at least 2 points, not {self.sizes}")

    def __call__(self, members: Tensor, truth: Tensor, spectrum: Spectrum) -> Tensor:
        terms = []
        for n in (n for n in self.sizes if n <= min(truth.shape[-2:])):
            coarse = avg_pool2d(members.flatten(0, 1), n).unflatten(0, members.shape[:2])
            terms.append(fair_crps(coarse, avg_pool2d(truth, n)).mean())
        if not terms:
            raise ValueError(
                f"model.term scores blocks of {' and '.join(map(str, self.sizes))} points, and patches have {min(truth.shape[-2:])}; "
                "give smaller sizes or larger patches"
            )
        return torch.stack(terms).mean()
