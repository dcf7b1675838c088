"""Coefficients and products on the doubly periodic plane, against direct sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fdsr.errors import FdsrError
from fdsr.turbulence import SpectralPlane


def field_of(coefficients: dict[tuple[int, int], complex], n: int) -> torch.Tensor:
    """Σ c e^{i(k_y y + k_x x)} + conjugate, summed term by term."""
    angle = 2 * np.pi * np.arange(n) / n
    total = np.zeros((n, n))
    for (ky, kx), c in coefficients.items():
        total += 2 * (c * np.exp(1j * (ky * angle[:, None] + kx * angle[None, :]))).real
    return torch.from_numpy(total)


@pytest.mark.parametrize("points", [12, 18, 19, 24])
def test_coefficients_are_those_of_the_series(points: int) -> None:
    plane = SpectralPlane(12, torch.float64)
    known = {(3, 2): 1 - 2j, (-5, 5): 0.5j, (0, 4): 0.25 + 1j, (2, 0): -3 + 1j}
    coefficients = plane.analyse(field_of(known, points))
    for (ky, kx), c in known.items():
        assert abs(complex(coefficients[ky, kx]) - c) < 1e-12
    assert int((coefficients.abs() > 1e-12).sum()) == 5  # (2, 0) has its mirror in the half plane
    torch.testing.assert_close(plane.synthesise(coefficients, points), field_of(known, points), rtol=0, atol=1e-12)


def test_products_have_no_alias() -> None:
    """The coefficients kept of a product equal the convolution of its factors', summed directly."""
    n = 8
    plane = SpectralPlane(n, torch.float64)
    rng = np.random.default_rng(0)
    a, b = (plane.analyse(torch.from_numpy(rng.standard_normal((n, n)))) for _ in range(2))
    product = plane.analyse(plane.synthesise(a, plane.fine) * plane.synthesise(b, plane.fine))

    def full(c: torch.Tensor) -> dict[tuple[int, int], complex]:
        half = {(ky, kx): complex(c[ky, kx]) for ky in range(-3, 4) for kx in range(4)}
        return half | {(-ky, -kx): value.conjugate() for (ky, kx), value in half.items() if kx}

    first, second = full(a), full(b)
    for ky, kx in itertools.product(range(-3, 4), range(4)):
        direct = sum(value * second.get((ky - p, kx - q), 0) for (p, q), value in first.items())
        assert abs(complex(product[ky, kx]) - direct) < 1e-12


def test_nyquist_lines_are_left_out_and_parseval_holds() -> None:
    plane = SpectralPlane(10, torch.float64)
    white = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 3, 10, 10)))
    c = plane.analyse(white)
    assert not c[..., 5, :].any() and not c[..., 5].any()
    kept = plane.synthesise(c)
    torch.testing.assert_close(
        plane.mean_product(c[0], c[1]), (kept[0] * kept[1]).mean((-2, -1)), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("n", [6, 9])
def test_sizes_that_cannot_be(n: int) -> None:
    with pytest.raises(FdsrError, match="even number"):
        SpectralPlane(n)
