import math

import pytest
import torch

from fdsr.diffusion import SCHEDULES, Schedule, cosine_schedule, linear_schedule, vp_schedule


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("T", [1, 2, 4, 1000])
def test_tables_are_consistent(name: str, T: int) -> None:
    s = SCHEDULES[name](T)
    assert s.T == T and s.alphas_cumprod.shape == s.alphas.shape == s.betas.shape == (T + 1,)
    assert s.alphas_cumprod[0] == 1 and s.alphas[0] == 1 and s.betas[0] == 0
    assert bool((s.betas[1:] > 0).all()) and bool((s.betas[1:] < 1).all())
    torch.testing.assert_close(torch.cumprod(s.alphas, 0), s.alphas_cumprod, rtol=1e-12, atol=0)
    torch.testing.assert_close(s.alphas + s.betas, torch.ones(T + 1, dtype=torch.float64), rtol=1e-14, atol=0)


def test_vp_ends_at_the_same_noise_for_every_T() -> None:
    for T in (1, 4, 50, 1000):
        assert float(vp_schedule(T).alphas_cumprod[-1]) == pytest.approx(math.exp(-10.05), rel=1e-12)
    torch.testing.assert_close(
        vp_schedule(4).betas[1:], torch.tensor([0.48, 0.85, 0.96, 0.99], dtype=torch.float64), rtol=0, atol=0.006
    )


def test_vp_is_the_continuous_process_sampled() -> None:
    # dᾱ/ds = −β(s) ᾱ with β(s) = β_min + s (β_max − β_min): for many steps β_t → β(s)/T
    T = 100_000
    s = (torch.arange(1, T + 1, dtype=torch.float64) - 0.5) / T
    torch.testing.assert_close(vp_schedule(T).betas[1:] * T, 0.1 + s * 19.9, rtol=2e-4, atol=0)


def test_linear_and_cosine_against_their_formulas() -> None:
    betas = [1e-4 + (0.02 - 1e-4) * i / 9 for i in range(10)]
    assert linear_schedule(10).betas[1:].tolist() == pytest.approx(betas, rel=1e-9)

    def f(t: int) -> float:
        return math.cos((t / 10 + 0.008) / 1.008 * math.pi / 2) ** 2

    cosine = cosine_schedule(10)
    assert cosine.alphas_cumprod[1:10].tolist() == pytest.approx([f(t) / f(0) for t in range(1, 10)], rel=1e-9)
    assert float(cosine.betas[10]) == pytest.approx(0.999)


@pytest.mark.parametrize(
    "call",
    [
        lambda: vp_schedule(0),
        lambda: vp_schedule(4, beta_min=-1.0),
        lambda: vp_schedule(4, beta_min=2.0, beta_max=1.0),
        lambda: linear_schedule(4, beta_end=1.0),
        lambda: cosine_schedule(4, max_beta=1.0),
        lambda: Schedule(torch.tensor([1.0, 0.5])),
        lambda: Schedule(torch.tensor([0.9, 0.5], dtype=torch.float64)),
        lambda: Schedule(torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64)),
        lambda: Schedule.from_betas(torch.tensor([0.1, 1.0])),
    ],
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
