"""The Fréchet distance between Gaussians fitted to features of real and generated images (Heusel et al. 2017, eq. 6).

d² = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½; with InceptionV3's features this is FID. Biased upwards by about
1/n, so that the number of images belongs to every value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.moments import FeatureMoments, GaussianStatistics


def factor(covariance: Tensor, n: int) -> Tensor:
    """L (D, R) with L Lᵀ = Σ of n features: Cholesky's where Σ has full rank, else of its eigenvectors, R the numerical rank."""
    dimension = len(covariance)
    if n > dimension:
        lower, info = torch.linalg.cholesky_ex(covariance)
        if info == 0:
            return lower
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > dimension * torch.finfo(values.dtype).eps * values.abs().max()
    return vectors[:, kept] * values[kept].sqrt()


def trace_sqrt_product(a: GaussianStatistics, b: GaussianStatistics) -> Tensor:
    """tr (Σ_a Σ_b)^½ from symmetric problems alone.

    Σ_a = L Lᵀ gives Σ_a Σ_b the eigenvalues of the symmetric Lᵀ Σ_b L: no square root of a matrix that is not symmetric,
    no complex numbers. The sample of lower rank is factored: the problem then has its rank's size.
    """
    if b.n < a.n:
        a, b = b, a
    lower = factor(a.covariance, int(a.n))
    values = torch.linalg.eigvalsh(lower.T @ b.covariance @ lower)
    return values.clamp(min=0).sqrt().sum()


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> Tensor:
    """d² of two samples' statistics, a float64 number ≥ 0 up to rounding. Raises FdsrError for other dimensions or NaN."""
    if a.mean.shape != b.mean.shape:
        raise FdsrError(f"features of {len(a.mean)} dimensions against {len(b.mean)}")
    if not all(bool(s.covariance.isfinite().all() and s.mean.isfinite().all()) for s in (a, b)):
        raise FdsrError("some features are not finite; the images or the network's weights are broken")
    gap = (a.mean - b.mean).square().sum()
    return gap + a.covariance.trace() + b.covariance.trace() - 2 * trace_sqrt_product(a, b)


class FrechetDistance(FeatureMoments):
    """Fréchet distance of the features it is fed to `reference`; sums are merged over processes."""

    higher_is_better = False

    def __init__(self, reference: GaussianStatistics) -> None:
        super().__init__(len(reference.mean), reference.mean)
        self.reference = reference

    def compute(self) -> Tensor:  # type: ignore[override]
        """()."""
        reference = GaussianStatistics(*(x.to(self.outer) for x in self.reference))
        return frechet_distance(self.statistics(), reference)
