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
    DDIM,
    SPACINGS,
    Ancestral,
    ColouredNoise,
    Cosine,
    DPMSolverPP,
    GaussianDiffusion,
    RealFourier,
    Sampler,
    Schedule,
    Spectrum,
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
        noise = ColouredNoise(exponent=0.5, floor=1e-6) if coloured else None
        self.process = GaussianDiffusion(vp_schedule(T), noise, Spectrum(self.f, self.power), reverse_variance)
        self.noise_power = self.process.noise.variance(self.process.spectrum, SHAPE[1:])

    def denoise(self, x_t: Tensor, t: Tensor) -> Tensor:
        a = self.process.alpha_bar(t).reshape(-1, 1, 1, 1)
        gain = a.sqrt() * self.power / (a * self.power + (1 - a) * self.noise_power)
        return self.f.inverse(self.mean + gain * (self.f.forward(x_t) - a.sqrt() * self.mean))

    def moments(self, sampler: Sampler, draws: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of each coefficient of the samples; `draws` >= the number of calls of noise()."""
        calls = 0

        def unit_draws() -> Tensor:
            nonlocal calls
            eta = torch.zeros(draws + 1, *SHAPE, dtype=torch.float64)
            eta[calls] = self.f.inverse(torch.ones(SHAPE, dtype=torch.float64)) if self._white else 1.0
            calls += 1
            return self.process.colour(eta)

        out = self.f.forward(sampler(self.denoise, unit_draws, self.process))
        assert calls <= draws
        mean = out[-1]  # no draw at all
        return mean, (out[:-1] - mean).square().sum(0)

    @property
    def _white(self) -> bool:
        return self.noise_power.numel() == 1


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value / truth - 1).abs().max())


# (sampler, noise draws, tolerance on the variance relative to the truth)
CASES = [
    (Ancestral(), 1000, 0.03),
    (DDIM(steps=1000), 1, 0.02),
    (DDIM(steps=1000, eta=0.5), 1000, 0.02),
    (DDIM(steps=200, spacing="quadratic"), 1, 0.03),
    (DPMSolverPP(steps=40, spacing="logsnr"), 1, 0.01),
]


@pytest.mark.parametrize("coloured", [False, True], ids=["white", "coloured"])
@pytest.mark.parametrize(("sampler", "draws", "tolerance"), CASES, ids=str)
def test_samples_have_the_mean_and_spectrum_of_the_data(sampler, draws, tolerance, coloured: bool) -> None:
    world = GaussianWorld(coloured)
    mean, variance = world.moments(sampler, draws)
    assert relative(variance, world.power) < tolerance
    # x_T is drawn around 0, not √ᾱ_T m: the samples' mean falls short by up to √(ᾱ_T P/Λ) m
    last = world.process.schedule.alphas_cumprod[-1]
    shortfall = (last * world.power / world.noise_power).sqrt() * world.mean.abs()
    assert bool(((mean - world.mean).abs() <= 1.1 * shortfall + 1e-3).all())


def test_the_default_spacing_keeps_every_variance_in_twelve_steps() -> None:
    """A network that adds nothing leaves the prior's denoiser: coefficients of variance .01 to 100 under white noise of 1.

    DPM-Solver++ keeps them to a third of a decibel on `logsnr` spacing; `uniform` steps lose 9.6 dB of the weakest. Of first
    order, DDIM loses 1.9 dB of all of them alike, and uniformly spaced 9.7 of the weakest.
    """
    variance = torch.logspace(-2, 2, 9, dtype=torch.float64).reshape(-1, 1, 1, 1)
    process = GaussianDiffusion(vp_schedule(1000))

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        a = process.alpha_bar(t).reshape(-1, 1, 1, 1)
        return a.sqrt() * variance / (a * variance + 1 - a) * x

    def decibels(sampler: Sampler) -> Tensor:
        out = sampler(denoise, lambda: torch.ones_like(variance), process)
        return 10 * torch.log10(out.square() / variance).flatten()

    assert DPMSolverPP() == DPMSolverPP(12, "logsnr")
    error = {spacing: decibels(DPMSolverPP(12, spacing)) for spacing in SPACINGS}
    assert error["logsnr"].abs().max() < 0.3 and error["logsnr"][0] == pytest.approx(0.09, abs=0.02)
    assert error["uniform"][0] == pytest.approx(-9.6, abs=0.1)
    assert min(error, key=lambda spacing: float(error[spacing].square().mean())) == "logsnr"
    first = {spacing: decibels(DDIM(12, spacing)) for spacing in SPACINGS}
    assert (first["logsnr"] + 1.9).abs().max() < 0.1 and first["uniform"][0] < -9
    assert DDIM().spacing == Ancestral().spacing == "logsnr"


def test_the_two_reverse_variances_bracket_the_truth() -> None:
    # β̃ is exact for a point mass, β for x_0 ~ N(0, C): in between, at few steps, one falls short
    variances = {}
    for name in ("posterior", "beta"):
        world = GaussianWorld(False, name)
        variances[name] = world.moments(Ancestral(steps=50), 50)[1] / world.power
    below_one = world.power < 0.9  # coefficients whose power is below the noise's
    assert bool((variances["posterior"] < 1).all())
    assert bool((variances["beta"][below_one] > variances["posterior"][below_one]).all())


def test_second_order_beats_first_order() -> None:
    world = GaussianWorld(False)
    first, second = (
        relative(world.moments(sampler(20, "logsnr"), 1)[1], world.power) for sampler in (DDIM, DPMSolverPP)
    )
    assert second < 0.3 * first


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_point_mass_is_found_in_any_number_of_steps(steps: int) -> None:
    process, x_0 = GaussianDiffusion(vp_schedule(5)), torch.randn(3, 1, 4, 4, dtype=torch.float64)
    for sampler in (Ancestral, DDIM, DPMSolverPP):
        for spacing in SPACINGS:
            out = sampler(steps, spacing)(lambda x, t: x_0, lambda: torch.randn_like(x_0), process)
            torch.testing.assert_close(out, x_0, rtol=0, atol=1e-12)


def test_samples_of_coloured_noise_by_monte_carlo() -> None:
    world = GaussianWorld(True)

    def draw() -> Tensor:
        return world.process.colour(torch.randn(4000, *SHAPE, dtype=torch.float64))

    out = Ancestral(steps=100)(world.denoise, draw, world.process)
    c = world.f.forward(out)
    # standard error √(2/4000) = 2 %, discretisation at 100 steps some 10 %
    assert relative(c.var(0), world.power) < 0.25
    assert float((c.mean(0) - world.mean).abs().max()) < 0.2


def test_eta_one_is_ancestral_sampling() -> None:
    world, shape = GaussianWorld(False, T=50), (2, *SHAPE)

    def source() -> Callable[[], Tensor]:
        generator = torch.Generator().manual_seed(3)
        return lambda: torch.randn(shape, dtype=torch.float64, generator=generator)

    a = Ancestral(7)(world.denoise, source(), world.process)
    b = DDIM(7, eta=1.0)(world.denoise, source(), world.process)
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
    times = [t - 1 for t in timesteps(process.schedule, steps, "uniform")]
    scheduler.set_timesteps(timesteps=times)
    expected = diffusers_run(scheduler, times, {}, torch.float64)
    out = Ancestral(steps, "uniform")(network, our_source(torch.float64), process)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("steps", [100, 10, 1])
def test_ddim_equals_diffusers(eta: float, steps: int) -> None:
    process = GaussianDiffusion(linear_schedule(100, 1e-3, 0.1))
    scheduler = DDIMScheduler(**common(), clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    expected = diffusers_run(scheduler, scheduler.timesteps.tolist(), {"eta": eta}, torch.float64)
    out = DDIM(steps, "uniform", eta)(network, our_source(torch.float64), process)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [100, 10, 4, 1])
def test_dpmsolverpp_equals_diffusers(steps: int) -> None:
    process = GaussianDiffusion(linear_schedule(100, 1e-3, 0.1))
    scheduler = DPMSolverMultistepScheduler(
        **common(), algorithm_type="dpmsolver++", solver_order=2, timestep_spacing="trailing", final_sigmas_type="zero"
    )
    scheduler.set_timesteps(steps)
    expected = diffusers_run(scheduler, scheduler.timesteps.tolist(), {}, torch.float32)
    out = DPMSolverPP(steps, "uniform")(network, our_source(torch.float32), process)
    torch.testing.assert_close(out, expected, rtol=0, atol=2e-4)


@given(T=st.integers(1, 300), data=st.data(), spacing=st.sampled_from(sorted(SPACINGS)))
@settings(max_examples=100, deadline=None)
def test_timesteps_decrease_from_T(T: int, data: st.DataObject, spacing: str) -> None:
    steps = data.draw(st.integers(1, T))
    times = timesteps(vp_schedule(T), steps, spacing)
    assert len(times) == steps and times[0] == T and times[-1] >= 1
    assert all(a > b for a, b in pairwise(times))


def test_timesteps_of_known_cases() -> None:
    schedule = vp_schedule(1000)
    assert timesteps(schedule, 4, "uniform") == [1000, 750, 500, 250]
    assert timesteps(schedule, 4, "quadratic") == [1000, 562, 250, 62]
    assert timesteps(vp_schedule(5), 5, "quadratic") == [5, 4, 3, 2, 1]
    times = timesteps(schedule, 9, "logsnr")
    gaps = torch.logit(schedule.alphas_cumprod[times]).diff()
    assert times[-1] == 1 and relative(gaps[:-1], gaps[:-1].mean()) < 0.02  # the last one meets the grain of t


@given(T=st.integers(1, 60), data=st.data(), spacing=st.sampled_from(sorted(SPACINGS)))
@settings(max_examples=30, deadline=None)
def test_a_sampler_asks_as_often_and_when_it_says(T: int, data: st.DataObject, spacing: str) -> None:
    schedule, steps = vp_schedule(T), data.draw(st.integers(1, T))
    for sampler in (Ancestral(steps, spacing), Ancestral(), DDIM(steps, spacing), DPMSolverPP(steps, spacing)):
        asked: list[int] = []

        def denoise(x: Tensor, t: Tensor, asked: list[int] = asked) -> Tensor:
            asked.append(int(t))
            return 0.5 * x

        sampler(denoise, lambda: torch.ones(1, 1), GaussianDiffusion(schedule))
        assert asked == sampler.times(schedule) and len(asked) == sampler.evaluations(schedule)
        assert len(asked) == (T if sampler == Ancestral() else steps)


def test_a_sampler_of_ones_own() -> None:
    """What the base class gives: intervals and the count of evaluations follow from the times."""

    class Twice(Sampler):
        def times(self, schedule: Schedule) -> list[int]:
            return timesteps(schedule, 2, "uniform")

        def __call__(self, denoise, noise, process: GaussianDiffusion) -> Tensor:
            x = noise()
            for t, _ in self.intervals(process):
                x = denoise(x, torch.full((len(x),), t))
            return x

    process = GaussianDiffusion(vp_schedule(10))
    assert Twice().intervals(process) == [(10, 5), (5, 0)] and Twice().evaluations(process.schedule) == 2
    assert Twice()(lambda x, t: x + t, lambda: torch.zeros(1), process).tolist() == [15]


@pytest.mark.parametrize(
    "call",
    [
        lambda: timesteps(vp_schedule(4), 5),
        lambda: timesteps(vp_schedule(4), 0),
        lambda: timesteps(vp_schedule(4), 2, "karras"),
        lambda: DDIM(2, eta=1.5),
        lambda: DPMSolverPP(12).times(vp_schedule(4)),
        lambda: Ancestral(9)(network, our_source(torch.float32), GaussianDiffusion(vp_schedule(4))),
    ],
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
