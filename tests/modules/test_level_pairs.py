"""One DDGAN for all numbers of steps: which pairs it is trained at, and that T is a setting of sampling alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch
from synthetic import TINY_DDGAN, randomise
from tiny_images import SPEC, TinyImages

from fdsr.data import WeatherDataModule
from fdsr.diffusion import Pair, Step, vp_schedule
from fdsr.errors import FdsrError
from fdsr.modules import LevelPairDDGANModule, load_module

MakeTrainer = Callable[..., L.Trainer]


def tiny(**arguments: object) -> LevelPairDDGANModule:
    module = LevelPairDDGANModule(**(TINY_DDGAN | arguments))
    module.attach(SPEC)
    randomise(module)
    return module


def test_pairs_are_the_steps_of_every_number_of_steps() -> None:
    """Each T as often as any other, and of each T every step; their levels are those of a schedule of T steps."""
    module, count = tiny(most_timesteps=5), 60_000
    step = module.draw_steps(count, torch.Generator().manual_seed(0))
    assert module.schedule.T == 60
    lengths = step.t - step.s
    for T in range(1, 6):
        own = step.t[lengths == 60 // T]
        assert len(own) / count == pytest.approx(1 / 5, abs=0.01)
        found, times = own.unique(return_counts=True)
        assert found.tolist() == [k * 60 // T for k in range(1, T + 1)]
        assert (times / len(own) - 1 / T).abs().max() < 0.02
        levels = module.process.alpha_bar(found)
        torch.testing.assert_close(levels, vp_schedule(T).alphas_cumprod[1:])
        assert module.process.network_time(found).tolist() == pytest.approx([1000 * k / T for k in range(1, T + 1)])
    assert bool((lengths * (60 // lengths) == 60).all())


def test_both_networks_see_both_levels() -> None:
    module, x = tiny().eval(), torch.randn(2, 1, 8, 8)
    t = torch.tensor([module.schedule.T] * 2)
    z, condition = torch.randn(2, 4), x[:, :0]
    with torch.no_grad():
        outputs = [
            (module.predict(x, Step(t, s), z, condition), module.judge(Pair(x, x), Step(t, s), condition))
            for s in (torch.zeros_like(t), t // 2)
        ]
    for first, second in zip(*outputs, strict=True):
        assert (first - second).abs().max() > 1e-4


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trains_on_images_and_on_fields(quiet_trainer: MakeTrainer, data: WeatherDataModule, precision: str) -> None:
    for source in (TinyImages(), data):
        module = LevelPairDDGANModule(**(TINY_DDGAN | {"r1_every": 2}))
        trainer = quiet_trainer(
            max_steps=3, precision=precision, val_check_interval=1, limit_val_batches=1, log_every_n_steps=3
        )
        trainer.fit(module, datamodule=source)
        values = {k: float(v) for k, v in trainer.callback_metrics.items()}
        assert all(torch.isfinite(torch.tensor(v)) for v in values.values())
        # by tenths of the schedule
        by_time = {k for k in values if k.startswith("d_accuracy_t")}
        assert by_time and by_time <= {f"d_accuracy_t{i}" for i in range(1, 11)}


def test_the_number_of_steps_is_a_setting_of_sampling(tmp_path: Path, quiet_trainer: MakeTrainer) -> None:
    """One checkpoint under every T: as many evaluations, at the levels of T steps, and images of their own."""
    trained = LevelPairDDGANModule(**TINY_DDGAN)
    trainer = quiet_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(trained, datamodule=TinyImages())
    randomise(trained)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    weights = load_module(tmp_path / "a.ckpt").state_dict()
    seen = {}
    for T in (1, 3, 10):
        module = tiny(timesteps=T).eval()
        module.load_state_dict(weights)
        steps: list[tuple[int, int]] = []
        predict = module.predict

        def watched(x_t, step, *rest, predict=predict, steps=steps):  # type: ignore[no-untyped-def]
            steps.append((int(step.t[0]), int(step.s[0])))
            return predict(x_t, step, *rest)

        module.predict = watched  # type: ignore[method-assign]
        seen[T] = module.sample_images(range(3), 0)
        unit = 2520 // T
        assert steps == [(k * unit, (k - 1) * unit) for k in range(T, 0, -1)] and module.evaluations_per_member == T
    assert (seen[1] - seen[3]).abs().max() > 1e-3 and (seen[3] - seen[10]).abs().max() > 1e-3


def test_too_many_steps_are_refused() -> None:
    for arguments in ({"timesteps": 11}, {"timesteps": 4, "most_timesteps": 3}, {"most_timesteps": 17}):
        with pytest.raises(FdsrError, match="most_timesteps"):
            tiny(**arguments)
