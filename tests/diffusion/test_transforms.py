import math
from collections.abc import Callable

import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fdsr.diffusion import Cosine, Globe, Haar, Product, RealFourier, Transform, axes

ALL: list[Transform] = [
    RealFourier(),
    Cosine(),
    Haar(),
    Product(lat=Cosine(), lon=RealFourier()),
    Product(lat=Haar(), lon=Cosine()),
    Globe(7),
]
LENGTHS = range(1, 34)


def fourier_matrix(n: int) -> Tensor:
    rows = []
    for i in range(n):
        k = math.ceil(i / 2)
        wave = math.cos if i % 2 == 1 or i == 0 else math.sin
        scale = math.sqrt(1 / n) if k == 0 or 2 * k == n else math.sqrt(2 / n)
        rows.append([scale * wave(-2 * math.pi * k * j / n) for j in range(n)])
    return torch.tensor(rows, dtype=torch.float64)


def cosine_matrix(n: int) -> Tensor:
    return torch.from_numpy(scipy.fft.dct(torch.eye(n, dtype=torch.float64).numpy(), axis=0, norm="ortho"))


def haar_coefficients(x: list[float]) -> list[float]:
    if len(x) == 1:
        return x
    pairs = [(x[i], x[i + 1]) for i in range(0, len(x) - 1, 2)]
    sums = [(a + b) / math.sqrt(2) for a, b in pairs] + ([x[-1]] if len(x) % 2 else [])
    return haar_coefficients(sums) + [(a - b) / math.sqrt(2) for a, b in pairs]


def haar_matrix(n: int) -> Tensor:
    return torch.tensor([haar_coefficients(row) for row in torch.eye(n).tolist()], dtype=torch.float64).mT


MATRICES = [(RealFourier(), fourier_matrix), (Cosine(), cosine_matrix), (Haar(), haar_matrix)]


@pytest.fixture(params=["matrix", "fast"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short vectors by the matrix, as usual, or by the fast algorithm that long ones take."""
    monkeypatch.setattr(axes, "MATRIX_LENGTH", 0 if request.param == "fast" else 96)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize(("f", "matrix"), MATRICES, ids=lambda v: repr(v) if isinstance(v, Transform) else "")
@pytest.mark.parametrize("n", LENGTHS)
def test_equals_its_dense_matrix(f: Transform, matrix: Callable[[int], Tensor], n: int) -> None:
    dense = matrix(n)
    torch.testing.assert_close(dense @ dense.mT, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-12)
    m = 34 - n  # every pair of one odd and one even, long and short
    x = torch.randn(2, n, m, dtype=torch.float64)
    expected = dense @ x @ matrix(m).mT
    torch.testing.assert_close(f.forward(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(f.inverse(expected), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("f", ALL, ids=repr)
@pytest.mark.parametrize("shape", [(130, 97), (5, 361), (128, 96)])
def test_long_axes_are_the_same_transform(f: Transform, shape: tuple[int, int]) -> None:
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    lat, lon = (axis.matrix(n) for axis, n in zip((f.lat_axis, f.lon_axis), shape, strict=True))
    torch.testing.assert_close(lat @ lat.mT, torch.eye(shape[0], dtype=torch.float64), rtol=0, atol=1e-12)
    c = f.forward(x)
    torch.testing.assert_close(c, lat @ x @ lon.mT, rtol=0, atol=1e-11)
    torch.testing.assert_close(f.inverse(c), x, rtol=0, atol=1e-11)
    (gradient,) = torch.autograd.grad((c * x.detach()).sum(), x)
    torch.testing.assert_close(gradient, lat.mT @ x.detach() @ lon, rtol=0, atol=1e-11)


def test_product_takes_latitude_from_one_and_longitude_from_the_other() -> None:
    x = torch.randn(7, 10, dtype=torch.float64)
    f = Product(lat=Cosine(), lon=RealFourier())
    torch.testing.assert_close(f.forward(x), cosine_matrix(7) @ x @ fourier_matrix(10).mT, rtol=0, atol=1e-12)
    ky, kx = f.axis_wavenumbers((7, 10), spacing=(2.0, 0.5))
    torch.testing.assert_close(ky, Cosine().axis_wavenumbers((7, 10), (2.0, 0.5))[0])
    torch.testing.assert_close(kx, RealFourier().axis_wavenumbers((7, 10), (2.0, 0.5))[1])


@given(f=st.sampled_from(ALL), height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_orthonormal_and_invertible(f: Transform, height: int, width: int, seed: int) -> None:
    x, y = torch.randn(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    c = f.forward(x)
    torch.testing.assert_close(f.inverse(c), x, rtol=0, atol=1e-11)
    torch.testing.assert_close((c * f.forward(y)).sum(), (x * y).sum(), rtol=1e-11, atol=1e-10)


@given(n=st.integers(2, 48), data=st.data())
@settings(max_examples=60, deadline=None)
def test_energy_of_a_wave_sits_at_its_wavenumber(n: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(0, n // 2), label="cycles")
    spacing = data.draw(st.sampled_from([1.0, 25.0]), label="spacing")
    j = torch.arange(n, dtype=torch.float64)
    phase = data.draw(st.floats(0, 3), label="phase") if 0 < m < n / 2 else 0.0
    wave = torch.cos(2 * math.pi * m * j / n + phase).expand(3, n)
    c = RealFourier().forward(wave)
    k = RealFourier().wavenumber((3, n), spacing=(1.0, spacing))
    here = torch.isclose(k, torch.tensor(m / (n * spacing), dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert float(c[here].square().sum()) == pytest.approx(float(wave.square().sum()), rel=1e-9)

    half_waves = data.draw(st.integers(0, n - 1), label="half waves")
    wave = torch.cos(math.pi * half_waves * (j + 0.5) / n)[:, None].expand(n, 2)
    c, k = Cosine().forward(wave), Cosine().wavenumber((n, 2), spacing=(spacing, 1.0))
    here = torch.isclose(k, torch.tensor(half_waves / (2 * n * spacing), dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert float(c[here].square().sum()) == pytest.approx(float(wave.square().sum()), rel=1e-9)


def test_wavenumbers_of_known_cases() -> None:
    ky, kx = RealFourier().axis_wavenumbers((5, 4), spacing=(1.0, 10.0))
    assert ky.tolist() == pytest.approx([0, 1 / 5, 1 / 5, 2 / 5, 2 / 5])
    assert kx.tolist() == pytest.approx([0, 1 / 40, 1 / 40, 1 / 20])
    ky, kx = Haar().axis_wavenumbers((8, 5))
    octave = [2**-3.5, 2**-2.5, 2**-2.5, 2**-1.5, 2**-1.5, 2**-1.5, 2**-1.5]
    assert ky.tolist() == pytest.approx([0, *octave])
    assert kx.tolist() == pytest.approx([0, 2**-3.5, 2**-2.5, 2**-1.5, 2**-1.5])
    assert float(Cosine().wavenumber((4, 3))[3, 2]) == pytest.approx(math.hypot(3 / 8, 2 / 6))


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_white_noise_stays_white(f: Transform) -> None:
    # F Fᵀ = I on the whole (H·W)-dimensional space, not only along each axis
    basis = torch.eye(35, dtype=torch.float64).reshape(35, 5, 7)
    dense = f.forward(basis).reshape(35, 35)
    torch.testing.assert_close(dense @ dense.mT, torch.eye(35, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("f", ALL, ids=repr)
def test_dtypes_gradients_and_inference_mode(f: Transform) -> None:
    x = torch.randn(2, 6, 9)
    assert f.forward(x).dtype == torch.float32
    assert f.forward(x.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(f.forward(x.bfloat16()), f.forward(x.bfloat16().float()))
    with torch.inference_mode():  # must not leave tensors in a cache that later refuse a backward pass
        f.forward(torch.randn(11, 13))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(f.inverse(f.forward(x)), x, rtol=0, atol=1e-5)
    y = torch.randn(11, 13, requires_grad=True)
    f.forward(y).square().sum().backward()
    torch.testing.assert_close(y.grad, 2 * y.detach(), rtol=0, atol=1e-4)
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda a: f.inverse(f.forward(a) ** 3), z)


def test_equality_is_of_the_bases() -> None:
    assert RealFourier() == Product(lat=RealFourier(), lon=RealFourier())
    assert hash(Cosine()) == hash(Cosine()) and Cosine() != Haar() and Cosine() != "cosine"


@pytest.mark.parametrize(
    "call",
    [
        lambda: RealFourier().forward(torch.zeros(4)),
        lambda: Cosine().inverse(torch.zeros(4, 4, dtype=torch.long)),
        lambda: Haar().forward(torch.zeros(4, 4, dtype=torch.complex64)),
        lambda: Cosine().wavenumber((0, 4)),
        lambda: Cosine().wavenumber((4, 4), spacing=(0.0, 1.0)),
    ],
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call()


@pytest.mark.parametrize("width", [5, 6, 12, 130])
def test_globe_is_periodic_where_the_grid_is(width: int) -> None:
    """A whole circle has the Fourier basis, a part of it the cosine basis; latitude is never periodic."""
    x = torch.randn(2, 4, width, dtype=torch.float64)
    for points, same in ((width, Product(lat=Cosine(), lon=RealFourier())), (2 * width, Cosine())):
        globe = Globe(points)
        torch.testing.assert_close(globe.forward(x), same.forward(x), rtol=0, atol=1e-12)
        torch.testing.assert_close(globe.inverse(x), same.inverse(x), rtol=0, atol=1e-12)
        assert torch.equal(globe.wavenumber((4, width)), same.wavenumber((4, width)))
    assert Globe(6) == Globe(6) != Globe(7)


def test_transforms_learn_the_circle() -> None:
    """A globe that is told no circle takes that of the grid it meets; the others have none to learn."""
    assert Globe() == Cosine() and Globe().on_circle(48) == Globe(48) and Globe().on_circle(None) == Cosine()
    assert Globe(6).on_circle(48) == Globe(6)
    mixed = Product(lat=Haar(), lon=Globe())
    assert mixed == Product(lat=Haar(), lon=Cosine()) and mixed.on_circle(48) == Product(lat=Haar(), lon=Globe(48))
    for f in (RealFourier(), Cosine(), Haar(), Product(lat=Cosine(), lon=RealFourier())):
        assert f.on_circle(48) == f == f.on_circle(None)


def test_shares_of_wavenumbers() -> None:
    """The energy of each Haar vector over cosine waves, by the dense matrices; a wave has its own wavenumber alone."""
    for n in (1, 5, 8):
        shares = axes.HaarAxis().spread(n)
        assert shares is not None
        torch.testing.assert_close(shares, (haar_matrix(n) @ cosine_matrix(n).mT) ** 2, rtol=0, atol=1e-12)
        for total in (shares.sum(0), shares.sum(1)):
            torch.testing.assert_close(total, torch.ones(n, dtype=torch.float64))
    assert axes.FourierAxis().spread(8) is None and axes.CosineAxis().spread(8) is None
