"""Each row of the f-divergence table against quadrature on two known densities."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor
from torch.nn.functional import softplus

from fdsr.diffusion import DIVERGENCES

NAMES = ["gan", "hellinger", "jensen_shannon", "kl", "pearson_chi2", "reverse_kl", "total_variation"]
# data Q = N(0.4, 0.8²), model P = N(0, 1): Q is narrower, so that every divergence is finite
MEAN, SIGMA = 0.4, 0.8
X = torch.linspace(-12, 12, 48_001, dtype=torch.float64)
LOG_P = -0.5 * X**2 - 0.5 * math.log(2 * math.pi)
LOG_Q = -0.5 * ((X - MEAN) / SIGMA) ** 2 - math.log(SIGMA) - 0.5 * math.log(2 * math.pi)
P, Q, R = LOG_P.exp(), LOG_Q.exp(), (LOG_Q - LOG_P).exp()

KL_QP = math.log(1 / SIGMA) + (SIGMA**2 + MEAN**2) / 2 - 0.5
KL_PQ = math.log(SIGMA) + (1 + MEAN**2) / (2 * SIGMA**2) - 0.5
AFFINITY = math.sqrt(2 * SIGMA / (1 + SIGMA**2)) * math.exp(-(MEAN**2) / (4 * (1 + SIGMA**2)))
CLOSED = {"kl": KL_QP, "reverse_kl": KL_PQ, "hellinger": 2 - 2 * AFFINITY}


def bound(name: str, v: Tensor) -> float:
    """E_Q[g(V)] − E_P[f*(g(V))]."""
    d = DIVERGENCES[name]
    return float(torch.trapezoid(Q * d.g(v) - P * d.conjugate_g(v), X))


def divergence(name: str) -> float:
    """∫ p f(q/p) by adaptive quadrature of the definition, split where q = p."""
    d = DIVERGENCES[name]

    def integrand(x: float) -> float:
        p = math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        q = math.exp(-0.5 * ((x - MEAN) / SIGMA) ** 2) / (SIGMA * math.sqrt(2 * math.pi))
        return p * float(d.f(torch.tensor(q / p, dtype=torch.float64)))

    crossings = X[:-1][((R[:-1] - 1) * (R[1:] - 1)) <= 0].tolist()
    edges = [-12.0, *crossings, 12.0]
    return sum(quad(integrand, a, b, epsabs=1e-11, limit=200)[0] for a, b in pairwise(edges))


def test_the_table_is_complete() -> None:
    assert sorted(DIVERGENCES) == NAMES and all(DIVERGENCES[n].name == n for n in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_bound_is_tight_at_the_optimal_v(name: str) -> None:
    d_f = divergence(name)
    assert bound(name, DIVERGENCES[name].optimal_v(R)) == pytest.approx(d_f, abs=1e-6)
    if name in CLOSED:
        assert d_f == pytest.approx(CLOSED[name], abs=1e-8)


def test_values_of_the_two_jensen_shannons() -> None:
    m = 0.5 * (P + Q)
    jsd = 0.5 * float(torch.trapezoid(Q * (Q / m).log() + P * (P / m).log(), X))
    assert divergence("jensen_shannon") == pytest.approx(2 * jsd, abs=1e-7)
    assert divergence("gan") == pytest.approx(2 * jsd - 2 * math.log(2), abs=1e-7)


@given(
    name=st.sampled_from(NAMES),
    scale=st.floats(-3, 3),
    wave=st.tuples(st.floats(-5, 5), st.floats(0.1, 6), st.floats(0, 6)),
    shift=st.floats(-2, 2),
    clip=st.floats(1, 40),
)
@settings(max_examples=300, deadline=None)
def test_no_other_v_exceeds_the_divergence(name, scale, wave, shift, clip) -> None:
    optimal = DIVERGENCES[name].optimal_v(R).clamp(-clip, clip)
    v = scale * optimal + wave[0] * torch.sin(wave[1] * X + wave[2]) + shift
    assert bound(name, v) <= TRUTH[name] + 1e-7


TRUTH = {name: divergence(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_perturbed_optimum_is_worse(name: str) -> None:
    v = DIVERGENCES[name].optimal_v(R).clamp(-15, 15)
    assert bound(name, v + 0.3) < TRUTH[name] - 1e-4 or name == "total_variation"
    assert bound(name, 0.5 * v) < bound(name, v) + 1e-12
    assert bound(name, -v) < TRUTH[name] - 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_conjugate_is_the_supremum(name: str) -> None:
    """f*(g(v)) = sup_u (u g(v) − f(u)), by search over u; g covers the range from which the supremum is finite."""
    d = DIVERGENCES[name]
    u = torch.logspace(-9, 6, 400_001, dtype=torch.float64)
    for v in (-1.5, -0.4, 0.0, 0.7, 1.4):
        at = torch.tensor(v, dtype=torch.float64)
        assert float(d.conjugate_g(at)) == pytest.approx(float((u * d.g(at) - d.f(u)).max()), abs=2e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_finite_far_out(name: str, dtype: torch.dtype) -> None:
    d = DIVERGENCES[name]
    v = torch.tensor([-1e4, -120.0, -50.0, -20.0, -1.0, 0.0, 1.0, 20.0, 50.0, 120.0, 1e4]).to(dtype).requires_grad_()
    for fn in (d.g, d.conjugate_g):
        out = fn(v)
        assert out.dtype == torch.float32 and bool(torch.isfinite(out).all())
        (gradient,) = torch.autograd.grad(out.sum(), v)
        assert bool(torch.isfinite(gradient).all())
        inside = v.detach().float().abs() < 20
        assert bool((gradient[inside] != 0).all())
    dense = torch.linspace(-50, 50, 1001, requires_grad=True)
    for loss in (d.critic_loss(dense, dense), d.generator_loss(dense, True), d.generator_loss(dense, False)):
        assert bool(torch.isfinite(torch.autograd.grad(loss, dense, retain_graph=True)[0]).all())


@pytest.mark.parametrize("name", ["hellinger", "reverse_kl", "kl"])
def test_soft_bound_is_the_identity_inside_and_smooth_at_its_edge(name: str) -> None:
    d = DIVERGENCES[name]
    inside = torch.linspace(-20, 20, 41, dtype=torch.float64)
    literal = {
        "hellinger": (-torch.expm1(inside), torch.expm1(-inside)),
        "reverse_kl": (-inside.exp(), -1 - inside),
        "kl": (inside, (inside - 1).exp()),
    }[name]
    torch.testing.assert_close(d.g(inside), literal[0])
    torch.testing.assert_close(d.conjugate_g(inside), literal[1])
    edge = torch.tensor([20 - 1e-7, 20 + 1e-7, -20 - 1e-7, -20 + 1e-7], dtype=torch.float64, requires_grad=True)
    for fn in (d.g, d.conjugate_g):
        (slope,) = torch.autograd.grad(fn(edge).sum(), edge)
        torch.testing.assert_close(slope[0::2], slope[1::2], rtol=1e-5, atol=0)


def test_goodfellow_losses() -> None:
    real, fake = torch.randn(2, 16)
    d = DIVERGENCES["gan"]
    torch.testing.assert_close(d.critic_loss(real, fake), (softplus(-real) + softplus(fake)).mean())
    torch.testing.assert_close(d.generator_loss(fake), softplus(-fake).mean())
    torch.testing.assert_close(d.generator_loss(fake, saturating=True), -softplus(fake).mean())


@pytest.mark.parametrize("saturating", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_no_sample_is_pushed_away(name: str, saturating: bool) -> None:
    """The generator's gradient points to where real pairs lie at every V, and vanishes nowhere near."""
    d = DIVERGENCES[name]
    v = torch.linspace(-60, 60, 4801, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(d.generator_loss(v, saturating), v)
    toward_real = -gradient if bool(d.judges_real(torch.tensor(60.0))) else gradient
    assert bool((toward_real >= 0).all()) and bool((toward_real[v.detach().abs() < 10] > 0).all())


def test_pearsons_bound_is_flat_far_below_its_edge() -> None:
    """f*(t) = −1 for t <= −2: a pair that is surely generated counts 1, however low its V."""
    d = DIVERGENCES["pearson_chi2"]
    v = torch.tensor([-40.0, -1e4], dtype=torch.float64)
    torch.testing.assert_close(d.conjugate_g(v), torch.full_like(v, -1.0))
    torch.testing.assert_close(d.g(v), torch.full_like(v, -2.0))
    r = torch.tensor([1e-6, 0.1, 1.0, 30.0, 300.0], dtype=torch.float64)
    torch.testing.assert_close(d.g(d.optimal_v(r)), 2 * (r - 1))


def test_generator_defaults() -> None:
    fake = torch.randn(16)
    for name, d in DIVERGENCES.items():
        saturating, alternative = d.generator_loss(fake, True), d.generator_loss(fake, False)
        expected = alternative if name in ("gan", "jensen_shannon", "pearson_chi2") else saturating
        torch.testing.assert_close(d.generator_loss(fake), expected)
        torch.testing.assert_close(saturating, -d.conjugate_g(fake).mean())
        assert torch.allclose(saturating, alternative) == (name == "total_variation")


@pytest.mark.parametrize("name", ["hellinger", "reverse_kl"])
def test_a_real_pair_gets_a_low_v_in_the_two_flipped_rows(name: str) -> None:
    high, low = torch.tensor([2.0]), torch.tensor([-2.0])
    assert DIVERGENCES[name].critic_loss(low, high) < DIVERGENCES[name].critic_loss(high, low)


def test_optimal_total_variation_critic_is_a_sign() -> None:
    v = DIVERGENCES["total_variation"].optimal_v(torch.tensor([0.5, 1.0, 2.0]))
    assert v.tolist() == [-math.inf, 0.0, math.inf]
