"""How often each diffusion time is drawn in training."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdsr.diffusion import LogitNormalTimes, SignalTimes, StratifiedTimes, TimeSampling, linear_schedule, vp_schedule


@pytest.mark.parametrize("T", [1, 2, 4, 10])
@pytest.mark.parametrize("power", [0.0, 0.25, 1.0])
def test_probabilities_are_powers_of_the_signal_before_the_step(T: int, power: float) -> None:
    schedule = vp_schedule(T)
    probabilities = SignalTimes(power).probabilities(schedule)
    literal = torch.tensor([float(schedule.alphas_cumprod[t - 1]) ** power for t in range(1, T + 1)])
    torch.testing.assert_close(probabilities.float(), literal / literal.sum())
    assert bool((probabilities > 0).all()) and bool((probabilities.diff() <= 1e-12).all())


@pytest.mark.parametrize("power", [0.0, 0.25])
def test_a_mean_over_draws_estimates_the_weighted_sum(power: float) -> None:
    times, schedule, n = SignalTimes(power), vp_schedule(4), 40_000
    t = times.draw(n, schedule, torch.Generator().manual_seed(0))
    assert t.dtype == torch.int64 and t.shape == (n,) and sorted(t.unique().tolist()) == [1, 2, 3, 4]
    loss = torch.tensor([1.0, -2.0, 5.0, 30.0], dtype=torch.float64)
    drawn, expected = loss[t - 1], float((times.probabilities(schedule) * loss).sum())
    assert abs(float(drawn.mean()) - expected) < 4 * float(drawn.std()) / n**0.5


def test_equal_shares_are_drawn_as_ever() -> None:
    """A power of 0 changes no recorded run."""
    drawn = SignalTimes().draw(64, vp_schedule(4), torch.Generator().manual_seed(3))
    assert torch.equal(drawn, torch.randint(1, 5, (64,), generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("power", [-0.1, float("nan")])
def test_a_negative_power_is_refused(power: float) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        SignalTimes(power)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-1.0, 0.5), (1.0, 2.0)])
def test_logit_normal_levels_of_noise(mean: float, std: float) -> None:
    """ln(σ/α) of the drawn times has the mean and deviation asked for, whatever the schedule that says which t that is."""
    times, n = LogitNormalTimes(mean, std), 20_000
    for schedule in (vp_schedule(1000), linear_schedule(1000)):
        t = times.draw(n, schedule, torch.Generator().manual_seed(0))
        assert t.dtype == torch.int64 and int(t.min()) >= 1 and int(t.max()) <= 1000
        level = -0.5 * torch.logit(schedule.alphas_cumprod[t])
        inside = (mean - 3 * std, mean + 3 * std)  # tails beyond the table's ends, at −4.6 and 5, stand there
        if inside[0] > -4.5 and inside[1] < 4.5:
            assert float(level.mean()) == pytest.approx(mean, abs=0.02)
            assert float(level.std()) == pytest.approx(std, abs=0.02)
        p = times.probabilities(schedule)
        assert float(p.sum()) == pytest.approx(1) and bool((p >= 0).all())
        # stratified: a count is off by one at most, and by rounding
        assert float((t.bincount(minlength=1001)[1:] / n - p).abs().max()) < 3 / n


def test_few_times_share_the_logit_normal() -> None:
    """At T = 4 three of four levels lie above the mean."""
    schedule = vp_schedule(4)
    level = -0.5 * torch.logit(schedule.alphas_cumprod[1:])
    edges = [-torch.inf, *(0.5 * (level[1:] + level[:-1])).tolist(), torch.inf]
    normal = torch.distributions.Normal(0.0, 1.0)
    below = [float(normal.cdf(torch.tensor(e))) for e in edges]
    literal = [b - a for a, b in pairwise(below)]
    assert LogitNormalTimes().probabilities(schedule).tolist() == pytest.approx(literal, abs=1e-6)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_a_logit_normal_needs_a_width(std: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        LogitNormalTimes(0.0, std)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(count=st.integers(1, 40), T=st.integers(1, 1000), seed=st.integers(0, 99))
def test_integers_in_1_to_T_from_the_generator_alone(count: int, T: int, seed: int) -> None:
    for times in (StratifiedTimes(), SignalTimes(), LogitNormalTimes()):
        t = times.draw(count, linear_schedule(T), seeded(seed))
        assert t.shape == (count,) and t.dtype == torch.long and int(t.min()) >= 1 and int(t.max()) <= T
        assert torch.equal(t, times.draw(count, linear_schedule(T), seeded(seed)))


@pytest.mark.parametrize("times", [StratifiedTimes(), SignalTimes()], ids=repr)
def test_all_times_are_equally_frequent(times: TimeSampling) -> None:
    rng = seeded()
    t = torch.cat([times.draw(4, vp_schedule(10), rng) for _ in range(5000)])
    # standard error of a frequency √(0.1 · 0.9 / 20000) = 0.002
    torch.testing.assert_close(t.bincount(minlength=11)[1:] / 20_000, torch.full((10,), 0.1), rtol=0, atol=0.01)


@given(count=st.integers(1, 30), seed=st.integers(0, 99))
def test_a_stratified_batch_sees_the_whole_range(count: int, seed: int) -> None:
    """One time in each of `count` equal parts of 1..T, up to a common shift round the range."""
    T = 60 * count
    gaps = StratifiedTimes().draw(count, linear_schedule(T), seeded(seed)).sort().values.diff()
    assert bool((gaps >= 59).all() and (gaps <= 61).all())
