"""How often each diffusion time is drawn in training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdsr.diffusion import SignalTimes, StratifiedTimes, TimeSampling, linear_schedule, vp_schedule


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


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(count=st.integers(1, 40), T=st.integers(1, 1000), seed=st.integers(0, 99))
def test_integers_in_1_to_T_from_the_generator_alone(count: int, T: int, seed: int) -> None:
    for times in (StratifiedTimes(), SignalTimes()):
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
