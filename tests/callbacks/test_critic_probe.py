"""The probe of the discriminator: what it measures, and that training does not notice it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from synthetic import TINY_DDGAN, TINY_UNET
from tiny_images import TinyImages
from torch import Tensor

from fdsr.callbacks import CriticProbe, EMACallback
from fdsr.data import WeatherDataModule
from fdsr.errors import FdsrError
from fdsr.modules import DDGANModule, RegressionModule

MakeTrainer = Callable[..., L.Trainer]


class Watch(L.Callback):
    """Every step's losses, and the global random generator's state after it."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, float], Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *rest: Any) -> None:
        self.seen.append(({k: float(v) for k, v in outputs.items()}, torch.random.get_rng_state()))


def fit(trainer: MakeTrainer, source: Any, probes: list[L.Callback], steps: int = 8) -> tuple[DDGANModule, Watch, Any]:
    module = DDGANModule(**(TINY_DDGAN | {"r1_every": 2, "discriminator_lr": 1e-3}))
    module.backbone_args["dropout"] = 0.2
    watch = Watch()
    runner = trainer(max_steps=steps, limit_val_batches=0, callbacks=[EMACallback(), *probes, watch])
    runner.fit(module, datamodule=source)
    return module, watch, runner


@pytest.mark.parametrize("of", ["images", "fields"])
def test_training_does_not_notice(quiet_trainer: MakeTrainer, data: WeatherDataModule, of: str) -> None:
    """Losses, weights, optimisers' moments and random numbers are the same to the last bit."""

    def source() -> Any:
        return TinyImages(count=40) if of == "images" else data

    (alone, expected, one), (probed, found, other) = (
        fit(quiet_trainer, source(), probes) for probes in ([], [CriticProbe(3, steps=4, batches=2)])
    )
    for (losses, state), (other_losses, other_state) in zip(expected.seen, found.seen, strict=True):
        assert losses == other_losses and torch.equal(state, other_state)
    assert all(torch.equal(v, probed.state_dict()[k]) for k, v in alone.state_dict().items())
    for a, b in zip(one.optimizers, other.optimizers, strict=True):
        for key, values in a.state_dict()["state"].items():
            assert all(torch.equal(v, b.state_dict()["state"][key][k]) for k, v in values.items())
    assert probed.training and probed.discriminator.training and probed.network.training
    assert all(p.requires_grad for p in probed.parameters())


class Collect(L.pytorch.loggers.logger.DummyLogger):
    """What is logged, by step."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if any(k.startswith("probe/") for k in metrics):
            self.values[int(step or 0)] = dict(metrics)


def test_it_logs_what_a_discriminator_alone_gains(quiet_trainer: MakeTrainer) -> None:
    """A discriminator that has hardly begun gains; the same updates without a rate gain nothing."""
    gains = {}
    for lr in (3e-3, 0.0):
        log = Collect()
        module = DDGANModule(**(TINY_DDGAN | {"discriminator_lr": lr, "r1_every": 2}))
        trainer = quiet_trainer(
            max_steps=4, limit_val_batches=0, callbacks=[CriticProbe(2, steps=40, batches=4)], logger=log
        )
        trainer.fit(module, datamodule=TinyImages(count=64))
        assert sorted(log.values) == [2, 4]
        for values in log.values.values():
            assert values["probe/gain"] == pytest.approx(values["probe/d_loss"] - values["probe/d_loss_after"])
        gains[lr] = log.values[4]["probe/gain"]
    assert gains[0.0] == 0 < 0.05 < gains[3e-3]


def test_it_puts_the_discriminator_back_when_it_fails(
    quiet_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = DDGANModule(**TINY_DDGAN)
    trainer = quiet_trainer(max_steps=1, limit_val_batches=0, callbacks=[])
    trainer.fit(module, datamodule=TinyImages(count=40))
    critic, calls = module.discriminator, []

    def fail(*args: Any, **kwargs: Any) -> Any:
        calls.append(module.discriminator is critic)
        if len(calls) > 3:
            raise RuntimeError("full")
        return loss(*args, **kwargs)

    loss = module.discriminator_loss
    monkeypatch.setattr(module, "discriminator_loss", fail)
    module.train()
    with pytest.raises(RuntimeError, match="full"):
        CriticProbe(1, steps=4, batches=2).probe(trainer, module)
    assert calls == [True, True, False, False] and module.discriminator is critic and module.training


def test_a_method_without_discriminator_is_refused(quiet_trainer: MakeTrainer, data: WeatherDataModule) -> None:
    module = RegressionModule(backbone_args=TINY_UNET | {"time_embedding": False})
    with pytest.raises(FdsrError, match="CriticProbe: this method has no discriminator"):
        quiet_trainer(max_steps=1, callbacks=[CriticProbe()]).fit(module, datamodule=data)
    with pytest.raises(FdsrError, match="must be at least 1"):
        CriticProbe(steps=0)
