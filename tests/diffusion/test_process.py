import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsr.diffusion import (
    PARAMETRISATIONS,
    SCHEDULES,
    ColouredNoise,
    Cosine,
    GaussianDiffusion,
    RealFourier,
    Spectrum,
    linear_schedule,
    vp_schedule,
)


def bayes(process: GaussianDiffusion, x_0: float, x_t: float, t: int, s: int) -> tuple[float, float]:
    """Mean and variance of q(x_s | x_t, x_0) ∝ q(x_t | x_s) q(x_s | x_0), by quadrature over x_s."""
    a_t, a_s = process.schedule.alphas_cumprod[[t, s]].tolist()
    x = torch.linspace(-15, 15, 200_001, dtype=torch.float64)
    step = a_t / a_s
    log_q = -((x_t - step**0.5 * x) ** 2) / (2 * (1 - step)) - (x - a_s**0.5 * x_0) ** 2 / (2 * (1 - a_s))
    q = torch.softmax(log_q, 0)
    mean = float((q * x).sum())
    return mean, float((q * (x - mean) ** 2).sum())


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(("t", "s"), [(2, 1), (5, 4), (10, 9), (10, 3), (7, 1)])
def test_posterior_is_bayes_theorem(name: str, t: int, s: int) -> None:
    process = GaussianDiffusion(SCHEDULES[name](10))
    x_0, x_t = torch.tensor([[0.7]], dtype=torch.float64), torch.tensor([[-1.3]], dtype=torch.float64)
    mean, var = process.posterior(x_0, x_t, torch.tensor([t]), torch.tensor([s]))
    expected_mean, expected_var = bayes(process, 0.7, -1.3, t, s)
    assert float(mean) == pytest.approx(expected_mean, rel=1e-7)
    assert float(var) == pytest.approx(expected_var, rel=1e-7)


def test_posterior_defaults_to_one_step_and_ends_at_x_0() -> None:
    process = GaussianDiffusion(vp_schedule(4))
    x_0, x_t = torch.randn(2, 4, 1, 3, 3)
    t = torch.arange(1, 5)
    for given_s, default in zip(process.posterior(x_0, x_t, t, t - 1), process.posterior(x_0, x_t, t), strict=True):
        assert torch.equal(given_s, default)
    mean, var = process.posterior(x_0, x_t, t)
    assert var.shape == (4, 1, 1, 1) and mean.dtype == var.dtype == torch.float32
    assert torch.equal(mean[0], x_0[0]) and float(var[0]) == 0


def test_reverse_variance_beta() -> None:
    schedule = vp_schedule(4)
    process = GaussianDiffusion(schedule, reverse_variance="beta")
    x = torch.zeros(4, 2, dtype=torch.float64)
    var = process.posterior(x, x, torch.arange(1, 5)).var
    torch.testing.assert_close(var[1:, 0], schedule.betas[2:])
    assert float(var[0]) == 0  # the last step adds no noise
    assert float(GaussianDiffusion(schedule).posterior(x, x, torch.arange(1, 5)).var[2]) < float(var[2])


@given(T=st.integers(1, 60), name=st.sampled_from(sorted(SCHEDULES)))
@settings(max_examples=30, deadline=None)
def test_marginals_compose_from_single_steps(T: int, name: str) -> None:
    schedule = SCHEDULES[name](T)
    process = GaussianDiffusion(schedule)
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    signal, variance = 1.0, 0.0
    for t in range(1, T + 1):
        signal *= float(schedule.alphas[t]) ** 0.5
        variance = float(schedule.alphas[t]) * variance + float(schedule.betas[t])
        at = torch.tensor([t])
        assert float(process.q_sample(one, at, zero)) == pytest.approx(signal, rel=1e-9)
        assert float(process.q_sample(zero, at, one)) ** 2 == pytest.approx(variance, rel=1e-9)


@given(t=st.integers(2, 20), data=st.data())
@settings(max_examples=30, deadline=None)
def test_posterior_of_a_marginal_is_a_marginal(t: int, data: st.DataObject) -> None:
    """x_t ~ q(· | x_0), then x_s ~ q(· | x_t, x_0), gives x_s ~ q(· | x_0), for any s < t."""
    process = GaussianDiffusion(vp_schedule(20))
    s = data.draw(st.integers(1, t - 1))
    one, zero, at, to = torch.ones(1, 1).double(), torch.zeros(1, 1).double(), torch.tensor([t]), torch.tensor([s])
    a_s = float(process.alpha_bar(to))
    mean = process.posterior(one, process.q_sample(one, at, zero), at, to).mean
    assert float(mean) == pytest.approx(a_s**0.5, rel=1e-9)
    from_noise, var = process.posterior(zero, process.q_sample(zero, at, one), at, to)
    assert float(from_noise) ** 2 + float(var) == pytest.approx(1 - a_s, rel=1e-9)


@pytest.mark.parametrize("name", sorted(PARAMETRISATIONS))
def test_parametrisations_return_to_x_0(name: str) -> None:
    process, parametrisation = GaussianDiffusion(vp_schedule(10)), PARAMETRISATIONS[name]
    x_0, noise = torch.randn(2, 10, 2, 3, 4, dtype=torch.float64)
    t = torch.arange(1, 11)
    x_t = process.q_sample(x_0, t, noise)
    target = parametrisation.target(process, x_0, noise, t)
    torch.testing.assert_close(parametrisation.to_x_0(process, target, x_t, t), x_0, rtol=0, atol=1e-10)
    torch.testing.assert_close(process.eps_from_x_0(x_t, t, x_0), noise, rtol=0, atol=1e-10)


def test_v_is_the_derivative_along_the_angle() -> None:
    # with √ᾱ = cos φ, √(1 − ᾱ) = sin φ: v = d x_t / dφ (Salimans & Ho 2022)
    process = GaussianDiffusion(vp_schedule(10))
    x_0, noise = torch.randn(2, 1, 5, dtype=torch.float64)
    phi = torch.arccos(process.alpha_bar(torch.tensor([6])).sqrt())
    h = 1e-6
    ahead, behind = (torch.cos(phi + d) * x_0 + torch.sin(phi + d) * noise for d in (h, -h))
    torch.testing.assert_close(process.v(x_0, torch.tensor([6]), noise), (ahead - behind) / (2 * h), rtol=0, atol=1e-8)


def test_snr() -> None:
    process = GaussianDiffusion(vp_schedule(4))
    a = process.schedule.alphas_cumprod
    torch.testing.assert_close(process.snr(torch.arange(1, 5)), a[1:] / (1 - a[1:]))


@pytest.mark.parametrize("transform", [Cosine(), RealFourier()], ids=repr)
def test_terminal_rule(transform) -> None:
    """ᾱ_T max Λ/C over the stored spectrum: a steep one under white noise breaks the rule, which coloured noise keeps."""
    last, power = float(vp_schedule(4).alphas_cumprod[-1]), torch.zeros(2, 64, 64)
    power[0], power[1, 0, 0] = 1.0, 1.0
    spectrum = Spectrum(transform, power)
    found = {p: GaussianDiffusion(vp_schedule(4), ColouredNoise(p), spectrum).terminal_snr() for p in (0.0, 0.5, 1.0)}
    white = GaussianDiffusion(vp_schedule(4), spectrum=spectrum).terminal_snr()
    assert white == pytest.approx(last * float(spectrum.stored().max())) and white == pytest.approx(found[0.0])
    assert white > 0.1 and found[1.0] == pytest.approx(last) == pytest.approx(4.3e-5, rel=0.01)
    # Λ^½ over its mean, in the channel of one strong coefficient
    root = spectrum.stored()[1].sqrt()
    assert found[0.5] == pytest.approx(last * float(root.max() * root.mean()))
    with pytest.raises(ValueError, match="no climatological spectrum"):
        GaussianDiffusion(vp_schedule(4)).terminal_snr()


@given(T=st.integers(1, 2000))
def test_networks_see_time_in_thousandths(T: int) -> None:
    t = torch.tensor([1, T])
    assert GaussianDiffusion(vp_schedule(T)).network_time(t).tolist() == pytest.approx([1000 / T, 1000], rel=1e-6)


def test_tables_stay_float64_and_out_of_checkpoints() -> None:
    process = GaussianDiffusion(linear_schedule(1000)).bfloat16()
    assert process.alphas_cumprod.dtype == torch.float64 and not process.state_dict()
    x = torch.randn(2, 1, 4, 4).bfloat16()
    t = torch.tensor([1, 1000])
    assert process.q_sample(x, t, x).dtype == torch.bfloat16
    assert process.double().q_sample(x.double(), t, x.double()).dtype == torch.float64


@pytest.mark.parametrize(
    "call",
    [
        lambda p, x: GaussianDiffusion(vp_schedule(4), reverse_variance="learned"),
        lambda p, x: p.q_sample(x, torch.tensor([0]), x),
        lambda p, x: p.q_sample(x, torch.tensor([5]), x),
        lambda p, x: p.q_sample(x, torch.tensor([1.0]), x),
        lambda p, x: p.posterior(x, x, torch.tensor([2]), torch.tensor([2])),
        lambda p, x: p.posterior(x, x, torch.tensor([2]), torch.tensor([-1])),
        lambda p, x: p.alpha_bar(torch.tensor([5])),
    ],
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call(GaussianDiffusion(vp_schedule(4)), torch.zeros(1, 1, 2, 2))


def test_importing_the_mathematics_needs_torch_alone() -> None:
    code = (
        "import sys, fdsr.diffusion;"
        "print([m for m in ('lightning', 'xarray', 'wandb', 'zarr', 'dask', 'torchmetrics') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
