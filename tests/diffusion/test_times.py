"""How often each diffusion time is drawn in training."""

import pytest
import torch

from fdsr.diffusion import SignalTimes, vp_schedule


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
