"""Losses: the Parseval identity, and where each one has its minimum."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fdsr.diffusion import (
    PARAMETRISATIONS,
    ColouredNoise,
    Cosine,
    Denoising,
    ErrorLoss,
    FourierReferenceLoss,
    GaussianDiffusion,
    Haar,
    InverseAmplitudeWeight,
    PowerLawWeight,
    Product,
    RealFourier,
    RobustSpectralLoss,
    SimpleLoss,
    SpectralWeightedLoss,
    Spectrum,
    SpectrumNormLoss,
    WhitenedLoss,
    vp_schedule,
)
from fdsr.diffusion.losses.robust import PENALTIES

TRANSFORMS = [RealFourier(), Cosine(), Haar(), Product(lat=Cosine(), lon=RealFourier())]


class Network(nn.Module):
    """A small non-linear network that sees t, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 2, 3, padding=1)).double()
        self.calls: list[int] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls.append(len(x))
        return self.body(x) * (1 + 0.1 * t.reshape(-1, 1, 1, 1))


def diffusion(transform=None, power: Tensor | None = None, noise=None, T: int = 9) -> GaussianDiffusion:
    return GaussianDiffusion(vp_schedule(T), noise, Spectrum(transform, power))


def draws(*etas: Tensor) -> Callable[[], Tensor]:
    queue = list(etas)
    return lambda: queue.pop(0)


def loss_and_gradient(loss, network: Network, *args) -> tuple[Tensor, Tensor]:
    network.zero_grad()
    value = loss(Denoising(network, *args))
    value.backward()
    return value.detach(), torch.cat([p.grad.flatten().clone() for p in network.parameters()])


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(3, 2, 6, 7, dtype=torch.float64), torch.tensor([1, 4, 9])


@pytest.mark.parametrize("coloured", [False, True], ids=["white", "coloured"])
@pytest.mark.parametrize("name", sorted(PARAMETRISATIONS))
@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_parseval_identity(transform, name: str, coloured: bool, batch, steep_power) -> None:
    """On the draw ε_f the coefficient term has the loss and gradient of the plain loss on f⁻¹(ε_f)."""
    x_0, t = batch
    process = diffusion(transform, steep_power(2), ColouredNoise() if coloured else None)
    args = (x_0, t, process, PARAMETRISATIONS[name])
    network, reference = Network(), FourierReferenceLoss()
    eta_x, eta_f = torch.randn(2, *x_0.shape, dtype=torch.float64)
    plain_x = loss_and_gradient(SimpleLoss(), network, *args, draws(eta_x))
    plain_f = loss_and_gradient(SimpleLoss(), network, *args, draws(transform.inverse(eta_f)))
    network.calls.clear()
    both = loss_and_gradient(reference, network, *args, draws(eta_x, eta_f))
    assert network.calls == [6]  # one evaluation of a doubled batch
    for reference_value, x, f in zip(both, plain_x, plain_f, strict=True):
        torch.testing.assert_close(reference_value, 0.5 * (x + f), rtol=1e-10, atol=1e-12)
    same = loss_and_gradient(reference, network, *args, draws(eta_x, transform.forward(eta_x)))
    for reference_value, x in zip(same, plain_x, strict=True):
        torch.testing.assert_close(reference_value, x, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(plain_x[0], plain_f[0])


def test_simple_loss_is_its_formula(batch) -> None:
    x_0, t = batch
    process, network, eta = GaussianDiffusion(vp_schedule(9)), Network(), torch.randn_like(batch[0])
    a = process.alpha_bar(t).reshape(-1, 1, 1, 1)
    expected = (eta - network(a.sqrt() * x_0 + (1 - a).sqrt() * eta, t)).square().mean()
    torch.testing.assert_close(
        SimpleLoss()(Denoising(network, x_0, t, process, PARAMETRISATIONS["eps"], draws(eta))), expected
    )


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_two_draws_are_the_reference_loss(transform, batch) -> None:
    """Coupled draws, the second through f⁻¹: loss and gradient of the joint loss are those of DDPM with two draws."""
    x_0, t = batch
    args = (x_0, t, diffusion(transform), PARAMETRISATIONS["v"])
    network = Network()
    eta_x, eta_f = torch.randn(2, *x_0.shape, dtype=torch.float64)
    twice = loss_and_gradient(SimpleLoss(draws=2), network, *args, draws(eta_x, transform.inverse(eta_f)))
    assert network.calls == [6]
    joint = loss_and_gradient(FourierReferenceLoss(), network, *args, draws(eta_x, eta_f))
    for a, b in zip(twice, joint, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    each = [SimpleLoss()(Denoising(network, *args, draws(eta))) for eta in (eta_x, transform.inverse(eta_f))]
    torch.testing.assert_close(twice[0], sum(each) / 2)


def gradient_at_conditional_mean(loss, name: str, process: GaussianDiffusion) -> float:
    """|∂L/∂output| at E[target | x_t], over the largest gradient away from it.

    Five clean fields, each with the η that leads to one and the same x_t: a posterior of five equal points. The
    network's output at that x_t is one free field, its optimum under a squared norm the mean of the five targets.
    """
    parametrisation, n = PARAMETRISATIONS[name], 5
    # one draw is far off: mean and median differ
    x_0 = torch.randn(n, 2, 6, 7, dtype=torch.float64)
    x_0[0] += 3
    t = torch.full((n,), 4)
    x_t = torch.randn(1, 2, 6, 7, dtype=torch.float64)
    eps = process.eps_from_x_0(x_t.expand_as(x_0), t, x_0)
    eta = process.whiten(eps)
    targets = parametrisation.target(process, x_0, eps, t)

    def gradient(output: Tensor) -> float:
        output = output.clone().requires_grad_()
        f = process.spectrum.transform
        etas = [eta, f.forward(eta)] if isinstance(loss, FourierReferenceLoss) else [eta]
        value = loss(Denoising(lambda x, s: output.expand_as(x), x_0, t, process, parametrisation, draws(*etas)))
        return float(torch.autograd.grad(value, output)[0].norm())

    mean = targets.mean(0, keepdim=True)
    return gradient(mean) / gradient(mean + 0.3 * torch.randn_like(mean))


@pytest.mark.parametrize("name", sorted(PARAMETRISATIONS))
@pytest.mark.parametrize("transform", [RealFourier(), Cosine()], ids=repr)
def test_weights_keep_the_minimiser(name: str, transform, steep_power) -> None:
    for loss in (
        SimpleLoss(),
        FourierReferenceLoss(),
        SpectralWeightedLoss(PowerLawWeight(1.5)),
        SpectralWeightedLoss(InverseAmplitudeWeight()),
        WhitenedLoss(),
    ):
        for noise in (None, ColouredNoise()):
            assert gradient_at_conditional_mean(loss, name, diffusion(transform, steep_power(2), noise)) < 1e-10


def test_robust_and_spectrum_losses_move_the_minimiser() -> None:
    assert gradient_at_conditional_mean(RobustSpectralLoss(1e-2), "eps", diffusion()) > 0.05
    assert gradient_at_conditional_mean(SpectrumNormLoss(strength=1.0), "x0", diffusion()) > 0.05
    # between median and mean: for a large epsilon Charbonnier is a squared norm
    assert gradient_at_conditional_mean(RobustSpectralLoss(1e3), "eps", diffusion()) < 1e-4


@pytest.mark.parametrize("penalty", sorted(PENALTIES))
def test_robust_gradients(penalty: str) -> None:
    """ρ'(d) is d/√(d² + ε²), or sign d: never more than 1 in size, whatever the outlier, and 0 without an error."""
    transform, epsilon = RealFourier(), 0.1
    error = 30 * torch.randn(2, 1, 5, 6, dtype=torch.float64)
    error[0] = 0
    target = torch.randn_like(error)
    output = (target - error).requires_grad_()
    loss = RobustSpectralLoss(epsilon, penalty)
    zero = torch.zeros_like(error)
    args = (zero, torch.tensor([1, 4]), diffusion(transform), PARAMETRISATIONS["eps"], draws(target))
    value = loss(Denoising(lambda x, s: output, *args))
    (gradient,) = torch.autograd.grad(value, output)
    d = transform.forward(error)
    rise = {"charbonnier": d / (d.square() + epsilon**2).sqrt(), "l1": d.sign()}[penalty]
    torch.testing.assert_close(transform.forward(gradient), -rise / d.numel(), rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(value, PENALTIES[penalty](d, epsilon).mean())
    assert bool((gradient[0] == 0).all()) and float(transform.forward(gradient).abs().max()) <= 1 / d.numel() * (
        1 + 1e-9
    )


def test_robust_minimisers_are_medians() -> None:
    """Of many targets at one x_t, l1 finds the coefficient-wise median, Charbonnier the same as ε falls, the mean as it grows."""
    transform = Cosine()
    c = torch.randn(100, 1, 3, 4, dtype=torch.float64).exp()  # skewed: mean and median differ
    targets, t = transform.inverse(c), torch.full((100,), 4)
    median, mean = c.quantile(0.5, 0), c.mean(0)  # between the two in the middle

    def slope(loss: RobustSpectralLoss, at: Tensor) -> float:
        output = transform.inverse(at)[None].clone().requires_grad_()
        args = (torch.zeros_like(targets), t, diffusion(transform), PARAMETRISATIONS["eps"], draws(targets))
        value = loss(Denoising(lambda x, s: output.expand_as(x), *args))
        return float(torch.autograd.grad(value, output)[0].abs().max())

    l1, near, far = RobustSpectralLoss(1.0, "l1"), RobustSpectralLoss(1e-6), RobustSpectralLoss(1e4)
    # at the median as many targets lie above as below
    assert slope(l1, median) < 1e-12 < 1e-3 < slope(l1, mean)
    assert slope(near, median) < 1e-9 and slope(near, mean) > 1e-3
    assert slope(far, mean) < 1e-4 * slope(far, median)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (1, 9)])
def test_weights_have_mean_square_one_and_a_bounded_ratio(transform, shape, steep_power) -> None:
    for weight in (PowerLawWeight(2.0), PowerLawWeight(-1.0), InverseAmplitudeWeight(0.5, 2.0)):
        w = weight(Spectrum(transform, steep_power(2)), shape)
        mean_square = w.square().mean((-2, -1))
        torch.testing.assert_close(mean_square, torch.ones_like(mean_square), rtol=1e-12, atol=0)
        assert float(w.min()) > 0 and float(w.max() / w.min()) <= weight.w_max / weight.w_min * (1 + 1e-12)


def test_weights_follow_their_law(steep_power) -> None:
    k, spectrum = Cosine().wavenumber((6, 8)), Spectrum(Cosine(), steep_power(2))
    w = PowerLawWeight(1.0, 1e-6, 1e6)(spectrum, (6, 8))
    torch.testing.assert_close(w / w[5, 7], k.clamp(min=1 / 8) / k[5, 7], rtol=1e-12, atol=0)
    assert float(w[0, 0]) == float(w[0, 1])  # DC counts as one cycle per domain
    product = InverseAmplitudeWeight(1e-6, 1e6)(spectrum, (6, 8)) * spectrum.power((6, 8), 1e-12).sqrt()
    torch.testing.assert_close(product, product[:, :1, :1].expand_as(product), rtol=1e-6, atol=0)


def test_weighted_loss_with_flat_weight_is_plain(batch) -> None:
    x_0, t = batch
    args = (x_0, t, diffusion(Haar()), PARAMETRISATIONS["v"])
    network, eta = Network(), torch.randn_like(x_0)
    plain = SimpleLoss()(Denoising(network, *args, draws(eta)))
    flat = SpectralWeightedLoss(PowerLawWeight(0.0))(Denoising(network, *args, draws(eta)))
    torch.testing.assert_close(flat, plain)
    steep = SpectralWeightedLoss(PowerLawWeight(2.0))(Denoising(network, *args, draws(eta)))
    assert not torch.allclose(steep, plain, rtol=1e-3)


def test_whitened_loss_is_the_variational_norm(batch, steep_power) -> None:
    x_0, t = batch
    process = diffusion(Cosine(), steep_power(2), ColouredNoise())
    network, eta = Network(), torch.randn_like(x_0)
    x_t = process.q_sample(x_0, t, process.colour(eta))
    error = Cosine().forward(process.colour(eta) - network(x_t, t))
    expected = (error.square() / process.spectrum.power((6, 7))).mean()
    out = WhitenedLoss()(Denoising(network, x_0, t, process, PARAMETRISATIONS["eps"], draws(eta)))
    torch.testing.assert_close(out, expected)


def test_spectrum_norm_penalises_lost_power_alone() -> None:
    process, x0 = diffusion(), PARAMETRISATIONS["x0"]
    x_0, eta, t = torch.randn(2, 2, 16, 16), torch.randn(2, 2, 16, 16), torch.tensor([1, 9])
    loss = SpectrumNormLoss(strength=2.0, bins=8)

    def penalty(output: Tensor) -> float:
        with_norm = loss(Denoising(lambda x, s: output, x_0, t, process, x0, draws(eta)))
        return float(with_norm - SimpleLoss()(Denoising(lambda x, s: output, x_0, t, process, x0, draws(eta)))) / 2.0

    assert penalty(x_0) == pytest.approx(0, abs=1e-6)
    assert penalty(x_0.roll((3, 5), (-2, -1))) == pytest.approx(0, abs=1e-6)  # phases do not matter
    halved = (2 * torch.log(torch.tensor(2.0)).item()) ** 2  # (ln ¼)², weighted by min(SNR, 1) of t = 1 and t = 9
    weight = float(process.snr(t).clamp(max=1).mean())
    assert penalty(0.5 * x_0) == pytest.approx(weight * halved, rel=1e-3)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_spectrum_norm_gradient_and_equality(transform) -> None:
    """The penalty alone: zero with zero gradient at equality, blind to signs of coefficients, differentiable elsewhere."""
    process, x0 = diffusion(transform), PARAMETRISATIONS["x0"]
    x_0, eta, t = *torch.randn(2, 2, 2, 8, 9, dtype=torch.float64), torch.tensor([2, 7])
    loss = SpectrumNormLoss(strength=1.0, bins=5)

    def penalty(output: Tensor) -> Tensor:
        both = loss(Denoising(lambda x, s: output, x_0, t, process, x0, draws(eta)))
        return both - SimpleLoss()(Denoising(lambda x, s: output, x_0, t, process, x0, draws(eta)))

    same = x_0.clone().requires_grad_()
    value = penalty(same)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert float(torch.autograd.grad(value, same)[0].abs().max()) < 1e-10
    # any change of signs in coefficients has the same power in every bin
    flipped = transform.inverse(transform.forward(x_0) * torch.randn(8, 9).sign())
    assert float(penalty(flipped)) == pytest.approx(0, abs=1e-10) and not torch.allclose(flipped, x_0)
    other = torch.randn_like(x_0)
    assert float(penalty(other)) > 0.01
    assert torch.autograd.gradcheck(penalty, (other.requires_grad_(),), atol=1e-6)


def test_spectrum_norm_is_silent_where_there_is_no_signal() -> None:
    """min(SNR_t, 1): at the last t of a thousand a spectrum however wrong costs next to nothing, at the first all."""
    process, x0, x_0 = diffusion(Cosine(), T=1000), PARAMETRISATIONS["x0"], torch.randn(1, 1, 8, 8)

    def penalty(t: int) -> float:
        args = (lambda x, s: 0.1 * x_0, x_0, torch.tensor([t]), process, x0, lambda: x_0)
        return float(SpectrumNormLoss(strength=1.0)(Denoising(*args)) - SimpleLoss()(Denoising(*args)))

    assert penalty(1) == pytest.approx((2 * torch.log(torch.tensor(10.0)).item()) ** 2, rel=1e-3)
    assert penalty(1000) < 1e-4 * penalty(1)


@pytest.mark.parametrize(
    "loss",
    [
        SimpleLoss(),
        SimpleLoss(draws=2),
        FourierReferenceLoss(),
        SpectralWeightedLoss(PowerLawWeight(1.0)),
        WhitenedLoss(),
        RobustSpectralLoss(),
        SpectrumNormLoss(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_half_precision_outputs_give_a_float32_loss(loss) -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(
            Denoising(
                lambda x, t: conv(x),
                torch.randn(2, 1, 8, 8),
                torch.tensor([1, 4]),
                diffusion(Cosine(), T=4),
                PARAMETRISATIONS["v"],
                lambda: torch.randn(2, 1, 8, 8),
            )
        )
    value.backward()
    assert value.dtype == torch.float32 and value.ndim == 0
    assert conv.weight.grad is not None and bool(torch.isfinite(conv.weight.grad).all())


def test_a_loss_of_ones_own(batch) -> None:
    """What `ErrorLoss` gives: a norm alone makes a loss, with the basis of the process."""

    class LowPass(ErrorLoss):
        def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
            return process.spectrum.transform.forward(error)[..., :2, :2].square().sum()

    x_0, t = batch
    eta, process = torch.randn_like(x_0), diffusion(Cosine())
    task = Denoising(lambda x, s: torch.zeros_like(x), x_0, t, process, PARAMETRISATIONS["eps"], draws(eta))
    value = LowPass()(task)
    torch.testing.assert_close(value, Cosine().forward(eta)[..., :2, :2].square().sum())


@pytest.mark.parametrize(
    "call",
    [
        lambda: PowerLawWeight(1.0, w_min=0.0),
        lambda: PowerLawWeight(1.0, w_min=2.0, w_max=1.0),
        lambda: InverseAmplitudeWeight(w_max=0.5),
        lambda: InverseAmplitudeWeight()(Spectrum(Cosine()), (4, 4)),
        lambda: RobustSpectralLoss(epsilon=0.0),
        lambda: RobustSpectralLoss(penalty="huber"),
        lambda: SimpleLoss(draws=0),
        lambda: SpectrumNormLoss(bins=0),
        lambda: SpectrumNormLoss(strength=-1.0),
    ],
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
