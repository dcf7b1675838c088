"""How well a discriminator tells pairs apart, by time: sums that add up over batches and processes."""

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from fdsr.diffusion import DIVERGENCES
from fdsr.modules.judged import Judged

ONE = SingleDeviceStrategy("cpu")


def test_means_by_time_over_several_batches() -> None:
    judged = Judged(DIVERGENCES["gan"], 3)
    judged.add(torch.tensor([1, 1, 3]), torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-1.0, 1.0, 0.25]))
    judged.add(torch.tensor([1]), torch.tensor([3.0]), torch.tensor([0.5]))
    # t = 1: 2 of 3 real ones and 1 of 3 generated ones are held rightly; t = 2 was not drawn
    assert judged.collect(ONE) == pytest.approx(
        {"d_accuracy_t1": 0.5, "d_gap_t1": (3.0 - 2.0 + 2.5) / 3, "d_accuracy_t3": 0.5, "d_gap_t3": 0.25}
    )
    assert judged.collect(ONE) == {}


@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_the_gap_is_above_0_where_real_is_held_for_real(name: str) -> None:
    row = DIVERGENCES[name]
    real, fake = (row.optimal_v(torch.tensor(r)).clamp(-9, 9) for r in ([1.5, 4.0], [0.5, 0.9]))
    judged = Judged(row, 2)
    judged.add(torch.tensor([1, 2]), real, fake)
    values = judged.collect(ONE)
    assert values["d_accuracy_t1"] == values["d_accuracy_t2"] == 1
    assert min(values["d_gap_t1"], values["d_gap_t2"]) > 0
    judged.add(torch.tensor([1, 2]), fake, real)
    values = judged.collect(ONE)
    assert values["d_accuracy_t1"] == 0 and max(values["d_gap_t1"], values["d_gap_t2"]) < 0


def test_processes_add_up() -> None:
    real, fake, t = torch.randn(12), torch.randn(12), torch.randint(1, 4, (12,))
    parts = [Judged(DIVERGENCES["gan"], 3) for _ in range(3)]
    whole = parts.pop()
    whole.add(t, real, fake)
    for part, half in zip(parts, (slice(0, 5), slice(5, 12)), strict=True):
        part.add(t[half], real[half], fake[half])
    parts[0].sums += parts[1].sums
    assert parts[0].collect(ONE) == pytest.approx(whole.collect(ONE), abs=1e-5)


def test_times_in_stretches() -> None:
    """Of 1…2520 in tenths: 252 is still in the first, 253 in the second, 2520 in the last."""
    judged = Judged(DIVERGENCES["gan"], 10, 2520)
    judged.add(torch.tensor([1, 252, 253, 2520]), torch.ones(4), torch.zeros(4))
    assert judged.sums[:, 0].tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
