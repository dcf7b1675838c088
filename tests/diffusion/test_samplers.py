"""Samplers against exact denoisers of Gaussians and against diffusers.

Data x_0 ~ N(m, fᵀ P f) under noise of covariance fᵀ Λ f have, coefficient by coefficient, the exact denoiser
E[x_0 | x_t] = m + √ᾱ P / (ᾱ P + (1 − ᾱ) Λ) (c_t − √ᾱ m). A sampler run with it is an affine map of its noise draws,
diagonal in the coefficients. Feeding unit draws one at a time gives the gain of each draw, hence the exact mean and
variance of what the sampler draws: no Monte Carlo error.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fdsr.diffusion import (
    SAMPLERS,
    SPACINGS,
    ColouredNoise,
    Cosine,
    GaussianDiffusion,
    RealFourier,
    ancestral,
    ddim,
    dpmsolverpp,
    linear_schedule,
    timesteps,
    vp_schedule,
)

SHAPE = (1, 4, 5)


class GaussianWorld:
    """Data of known mean and spectrum, the process over them, and the moments of any sampler."""

    def __init__(self, coloured: bool, reverse_variance: str = "posterior", T: int = 1000) -> None:
        self.f = RealFourier() if not coloured else Cosine()
        k = self.f.wavenumber(SHAPE[1:]).clamp(min=0.05)
        self.power = (k**-2 / (k**-2).mean())[None]
        self.mean = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(SHAPE)  # in coefficients
        noise = ColouredNoise(self.f, self.power, floor=1e-6, exponent=0.5) if coloured else None
        self.process = GaussianDiffusion(vp_schedule(T), noise, reverse_variance)
        self.noise_power = self.process.noise.scale(SHAPE[1:]).double() ** 2

    def denoise(self, x_t: Tensor, t: Tensor) -> Tensor:
        a = self.process.alpha_bar(t).reshape(-1, 1, 1, 1)
        gain = a.sqrt() * self.power / (a * self.power + (1 - a) * self.noise_power)
        return self.f.inverse(self.mean + gain * (self.f.forward(x_t) - a.sqrt() * self.mean))

    def moments(self, sample: Callable[[Callable[[], Tensor]], Tensor], draws: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of each coefficient of the samples; `draws` >= the number of calls of noise()."""
        calls = 0

        def unit_draws() -> Tensor:
            nonlocal calls
            eta = torch.zeros(draws + 1, *SHAPE, dtype=torch.float64)
            eta[calls] = self.f.inverse(torch.ones(SHAPE, dtype=torch.float64)) if self._white else 1.0
            calls += 1
            return self.process.noise.colour(eta)

        out = self.f.forward(sample(unit_draws))
        assert calls <= draws
        mean = out[-1]  # no draw at all
        return mean, (out[:-1] - mean).square().sum(0)

    @property
    def _white(self) -> bool:
        return self.noise_power.numel() == 1


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value / truth - 1).abs().max())


# (sampler, keyword arguments, noise draws, tolerance on the variance relative to the truth)
CASES = [
    pytest.param(ancestral, {"steps": None}, 1000, 0.03, id="ancestral-1000"),
    pytest.param(ddim, {"steps": 1000}, 1, 0.02, id="ddim-1000"),
    pytest.param(ddim, {"steps": 1000, "eta": 0.5}, 1000, 0.02, id="ddim-eta-0.5-1000"),
    pytest.param(ddim, {"steps": 200, "spacing": "quadratic"}, 1, 0.03, id="ddim-quadratic-200"),
    pytest.param(dpmsolverpp, {"steps": 40, "spacing": "logsnr"}, 1, 0.01, id="dpmsolver++-logsnr-40"),
]


@pytest.mark.parametrize("coloured", [False, True], ids=["white", "coloured"])
@pytest.mark.parametrize(("sampler", "kwargs", "draws", "tolerance"), CASES)
def test_samples_have_the_mean_and_spectrum_of_the_data(sampler, kwargs, draws, tolerance, coloured: bool) -> None:
    world = GaussianWorld(coloured)
    mean, variance = world.moments(lambda noise: sampler(world.denoise, noise, world.process, **kwargs), draws)
    assert relative(variance, world.power) < tolerance
    # x_T is drawn around 0, not √ᾱ_T m: the samples' mean falls short by up to √(ᾱ_T P/Λ) m
    last = world.process.schedule.alphas_cumprod[-1]
    shortfall = (last * world.power / world.noise_power).sqrt() * world.mean.abs()
    assert bool(((mean - world.mean).abs() <= 1.1 * shortfall + 1e-3).all())


def test_the_two_reverse_variances_bracket_the_truth() -> None:
    # β̃ is exact for a point mass, β for x_0 ~ N(0, C): in between, at few steps, one falls short
    variances = {}
    for name in ("posterior", "beta"):
        world = GaussianWorld(False, name)
        variances[name] = world.moments(lambda n, w=world: ancestral(w.denoise, n, w.process, 50), 50)[1] / world.power
    below_one = world.power < 0.9  # coefficients whose power is below the noise's
    assert bool((variances["posterior"] < 1).all())
    assert bool((variances["beta"][below_one] > variances["posterior"][below_one]).all())


def test_second_order_beats_first_order() -> None:
    world = GaussianWorld(False)
    error = {
        sampler: relative(
            world.moments(lambda n, s=sampler: s(world.denoise, n, world.process, 20, spacing="logsnr"), 1)[1],
            world.power,
        )
        for sampler in (ddim, dpmsolverpp)
    }
    assert error[dpmsolverpp] < 0.3 * error[ddim]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_point_mass_is_found_in_any_number_of_steps(steps: int) -> None:
    process, x_0 = GaussianDiffusion(vp_schedule(5)), torch.randn(3, 1, 4, 4, dtype=torch.float64)
    for sampler in SAMPLERS.values():
        for spacing in SPACINGS:
            out = sampler(lambda x, t: x_0, lambda: torch.randn_like(x_0), process, steps, spacing=spacing)
            torch.testing.assert_close(out, x_0, rtol=0, atol=1e-12)


def test_samples_of_coloured_noise_by_monte_carlo() -> None:
    world = GaussianWorld(True)
    out = ancestral(
        world.denoise,
        lambda: world.process.noise.colour(torch.randn(4000, *SHAPE, dtype=torch.float64)),
        world.process,
        100,
    )
    c = world.f.forward(out)
    # standard error √(2/4000) = 2 %, discretisation at 100 steps some 10 %
    assert relative(c.var(0), world.power) < 0.25
    assert float((c.mean(0) - world.mean).abs().max()) < 0.2


def test_eta_one_is_ancestral_sampling() -> None:
    world, shape = GaussianWorld(False, T=50), (2, *SHAPE)

    def source() -> Callable[[], Tensor]:
        generator = torch.Generator().manual_seed(3)
        return lambda: torch.randn(shape, dtype=torch.float64, generator=generator)

    a = ancestral(world.denoise, source(), world.process, 7)
    b = ddim(world.denoise, source(), world.process, 7, eta=1.0)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def network(x: Tensor, t: Tensor) -> Tensor:
    """Some smooth non-linear x̂_0."""
    return torch.tanh(0.8 * x + 0.01 * t.reshape(-1, 1, 1, 1)) + 0.1 * x.roll(1, -1)


def diffusers_run(scheduler, times: list[int], eta: dict[str, float], dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(2, 1, 6, 6, generator=generator, dtype=dtype)
    for t in times:
        x_0 = network(x, torch.full((2,), t + 1))  # diffusers counts from 0
        x = scheduler.step(x_0, t, x, generator=generator, **eta).prev_sample
    return x


def our_source(dtype: torch.dtype) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(11)
    return lambda: torch.randn(2, 1, 6, 6, generator=generator, dtype=dtype)


COMMON = {"num_train_timesteps": 100, "prediction_type": "sample"}


def common() -> dict[str, object]:
    return {**COMMON, "trained_betas": linear_schedule(100, 1e-3, 0.1).betas[1:].numpy()}


# diffusers adds noise of variance β even in the last of 20 steps under "fixed_large", since that step starts at t > 1
@pytest.mark.parametrize(
    ("mine", "theirs", "steps"),
    [("posterior", "fixed_small", 100), ("posterior", "fixed_small", 20), ("beta", "fixed_large", 100)],
)
def test_ancestral_equals_diffusers(mine: str, theirs: str, steps: int) -> None:
    process = GaussianDiffusion(linear_schedule(100, 1e-3, 0.1), reverse_variance=mine)
    scheduler = DDPMScheduler(**common(), variance_type=theirs, clip_sample=False)
    times = [t - 1 for t in timesteps(100, steps)]
    scheduler.set_timesteps(timesteps=times)
    expected = diffusers_run(scheduler, times, {}, torch.float64)
    torch.testing.assert_close(
        ancestral(network, our_source(torch.float64), process, steps), expected, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("steps", [100, 10, 1])
def test_ddim_equals_diffusers(eta: float, steps: int) -> None:
    process = GaussianDiffusion(linear_schedule(100, 1e-3, 0.1))
    scheduler = DDIMScheduler(**common(), clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    expected = diffusers_run(scheduler, scheduler.timesteps.tolist(), {"eta": eta}, torch.float64)
    out = ddim(network, our_source(torch.float64), process, steps, eta)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [100, 10, 4, 1])
def test_dpmsolverpp_equals_diffusers(steps: int) -> None:
    process = GaussianDiffusion(linear_schedule(100, 1e-3, 0.1))
    scheduler = DPMSolverMultistepScheduler(
        **common(), algorithm_type="dpmsolver++", solver_order=2, timestep_spacing="trailing", final_sigmas_type="zero"
    )
    scheduler.set_timesteps(steps)
    expected = diffusers_run(scheduler, scheduler.timesteps.tolist(), {}, torch.float32)
    out = dpmsolverpp(network, our_source(torch.float32), process, steps)
    torch.testing.assert_close(out, expected, rtol=0, atol=2e-4)


@given(T=st.integers(1, 300), data=st.data(), spacing=st.sampled_from(sorted(SPACINGS)))
@settings(max_examples=100, deadline=None)
def test_timesteps_decrease_from_T(T: int, data: st.DataObject, spacing: str) -> None:
    steps = data.draw(st.integers(1, T))
    times = timesteps(T, steps, spacing, schedule=vp_schedule(T))
    assert len(times) == steps and times[0] == T and times[-1] >= 1
    assert all(a > b for a, b in pairwise(times))


def test_timesteps_of_known_cases() -> None:
    assert timesteps(1000, 4) == [1000, 750, 500, 250]
    assert timesteps(1000, 4, "quadratic") == [1000, 562, 250, 62]
    assert timesteps(5, 5, "quadratic") == [5, 4, 3, 2, 1]
    schedule = vp_schedule(1000)
    times = timesteps(1000, 9, "logsnr", schedule=schedule)
    gaps = torch.logit(schedule.alphas_cumprod[times]).diff()
    assert times[-1] == 1 and relative(gaps[:-1], gaps[:-1].mean()) < 0.02  # the last one meets the grain of t


@pytest.mark.parametrize(
    "call",
    [
        lambda: timesteps(4, 5),
        lambda: timesteps(4, 0),
        lambda: timesteps(4, 2, "karras"),
        lambda: timesteps(4, 2, "logsnr"),
        lambda: timesteps(4, 2, schedule=vp_schedule(5)),
        lambda: ddim(network, our_source(torch.float32), GaussianDiffusion(vp_schedule(4)), 2, eta=1.5),
        lambda: ancestral(network, our_source(torch.float32), GaussianDiffusion(vp_schedule(4)), 9),
    ],
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
