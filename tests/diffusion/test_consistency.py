"""Consistency training: its pairs of levels, the loss at a known function, and sampling by renoising."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fdsr.diffusion import GaussianDiffusion, LevelPairs, Renoising, Step, consistency_loss, vp_schedule
from fdsr.diffusion.consistency import levels

PROCESS = GaussianDiffusion(vp_schedule(16_000))


def draw(stage: int, count: int = 20_000) -> tuple[Tensor, Tensor]:
    """σ_t and σ_s of many pairs."""
    step = LevelPairs().draw(PROCESS, count, stage, torch.Generator().manual_seed(0))
    assert step.t.dtype == step.s.dtype == torch.long
    assert bool((step.s >= 0).all() and (step.s < step.t).all() and (step.t <= 16_000).all())
    return levels(PROCESS)[step.t], levels(PROCESS)[step.s]


def test_levels_are_log_normal() -> None:
    sigma, _ = draw(0)
    assert float(sigma.log().median()) == pytest.approx(-1.1, abs=0.05)
    assert float(sigma.log().quantile(0.84) - sigma.log().quantile(0.16)) == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("stage", [0, 1, 3, 6])
def test_the_gap_is_that_of_the_paper(stage: int) -> None:
    """r/t = 1 − n(t)/q^(a + 1), n(t) = 1 + 8 sigmoid(−t), within the table's spacing; at first low levels meet the data themselves."""
    t, s = draw(stage)
    wanted = t * (1 - (1 + 8 / (1 + t.exp())) / 2 ** (stage + 1)).clamp(min=0)
    between = t > 0.05
    assert (s - wanted)[between].abs().max() < 0.02 * float(t.max())
    assert ((s - wanted) / t)[between].abs().median() < 2e-3
    assert bool((s[t < 0.5] == 0).all()) == (stage < 2)


def test_the_loss_of_a_function_that_scales_its_input() -> None:
    """f(x_t, t) = x_t on single elements: (√(Δ² + c²) − c)/(σ_t − σ_s) by hand, and no gradient through the second."""
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    x_0, noise = torch.randn(2, 5, 1, dtype=torch.float64)
    step = Step(torch.tensor([16_000, 8000, 4000, 100, 2]), torch.tensor([8000, 100, 1, 0, 0]))
    loss = consistency_loss(lambda x, t: scale * x, x_0, x_0, step, noise, PROCESS, huber=0.1)
    a = PROCESS.alphas_cumprod
    values, slopes = [], []
    for i, (t, s) in enumerate(zip(step.t.tolist(), step.s.tolist(), strict=True)):
        x_t, x_s = (float(a[u].sqrt() * x_0[i] + (1 - a[u]).sqrt() * noise[i]) for u in (t, s))
        gap = math.sqrt(1 / float(a[t]) - 1) - math.sqrt(1 / float(a[s]) - 1)
        values.append((math.hypot(x_t - x_s, 0.1) - 0.1) / gap)
        slopes.append((x_t - x_s) / math.hypot(x_t - x_s, 0.1) * x_t / gap)
    assert float(loss.detach()) == pytest.approx(sum(values) / 5)
    loss.backward()
    assert float(scale.grad) == pytest.approx(sum(slopes) / 5)  # type: ignore[arg-type]


def test_the_exact_consistency_function_of_a_gaussian_draws_it_in_any_number_of_steps() -> None:
    """Of data N(0, 0.3²): along the flow x_t/√(ᾱ 0.3² + 1 − ᾱ) stays as it is. It has no loss to speak of, and is sampled exactly."""
    process = GaussianDiffusion(vp_schedule(1000))

    def exact(x_t: Tensor, t: Tensor) -> Tensor:
        a = process.alpha_bar(t)[:, None]
        return 0.3 * x_t / (0.09 * a + 1 - a).sqrt()

    rng = torch.Generator().manual_seed(0)
    for steps in (1, 2, 5):
        drawn = Renoising(steps)(exact, lambda: torch.randn(20_000, 1, generator=rng, dtype=torch.float64), process)
        assert float(drawn.std()) == pytest.approx(0.3, rel=0.02), steps
    assert Renoising().evaluations(process.schedule) == 2 and Renoising(2).times(process.schedule) == [1000, 250]
    assert float(levels(process)[250]) == pytest.approx(0.96, abs=0.01)


def test_a_sampler_asks_for_as_much_noise_as_it_has_steps() -> None:
    process, asked = GaussianDiffusion(vp_schedule(10)), []

    def noise() -> Tensor:
        asked.append(1)
        return torch.zeros(1, 1)

    Renoising(3)(lambda x, t: x, noise, process)
    assert len(asked) == 3
