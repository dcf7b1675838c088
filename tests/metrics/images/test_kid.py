"""The kernel distance against its definition and torch-fidelity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.images.kid import KernelDistance, polynomial_mmd

from ..merging import sample


def test_polynomial_mmd_is_the_double_sum() -> None:
    x, y = sample(6, 3, 0), sample(8, 3, 1)

    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 3 + 1) ** 3)

    xx = np.mean([k(x[i], x[j]) for i in range(6) for j in range(6) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(8) for j in range(8) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert float(polynomial_mmd(x, y)) == pytest.approx(xx + yy - 2 * xy, rel=1e-10)


def test_kid_is_torch_fidelitys() -> None:
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = sample(300, 16, 0).float(), sample(250, 16, 1).float()
    expected = metric_kid.kid_features_to_metric(
        x, y, kid_subsets=10, kid_subset_size=100, rng_seed=2020, verbose=False, kid_kernel="poly",
        kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1,
    )["kernel_inception_distance_mean"]  # fmt: skip
    metric = KernelDistance(y, subsets=10, subset_size=100)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    for part in order.split(64):
        metric.update(x[part], part)
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-4)


def test_kid_has_no_bias() -> None:
    rng = torch.Generator().manual_seed(0)
    draws = [polynomial_mmd(*torch.randn(2, 20, 4, generator=rng, dtype=torch.float64)) for _ in range(400)]
    values = torch.stack(draws)
    assert abs(float(values.mean())) < 4 * float(values.std()) / 20
    assert float(values.min()) < 0


def test_kid_refuses() -> None:
    with pytest.raises(FdsrError, match="subset"):
        KernelDistance(sample(5, 2, 0), subset_size=1)
    metric = KernelDistance(sample(5, 2, 0))
    with pytest.raises(FdsrError, match="indices"):
        metric.update(sample(4, 2, 0), torch.arange(3))
