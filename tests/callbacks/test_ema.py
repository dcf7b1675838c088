"""The averaged weights follow their formula, and checkpoints keep averaged and raw weights apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from fdsr.callbacks import EMACallback
from fdsr.data import WeatherDataModule
from fdsr.errors import FdsrError
from fdsr.modules import DownscalingModule

Build = Callable[..., DownscalingModule]
MakeTrainer = Callable[..., L.Trainer]


def weights(module: DownscalingModule) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in module.network.state_dict(prefix="network.").items()}


class History(L.Callback):
    """The raw weights before training and after each step, and those in place while validating."""

    def __init__(self) -> None:
        self.raw: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.raw.append(weights(pl_module))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == len(self.raw):
            self.raw.append(weights(pl_module))

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        self.validated.append(weights(pl_module))


def closed_form(raw: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    """Σ_n w_n · raw_n with w_n = (1 − d_n) Π_{m > n} d_m and d_n = min(decay, (1 + n)/(10 + n)); w_0 = Π d_m."""
    d = [0.0] + [min(decay, (1 + n) / (10 + n)) for n in range(1, len(raw))]
    share = [(1 - d[n]) * float(torch.tensor(d[n + 1 :], dtype=torch.float64).prod()) for n in range(len(raw))]
    assert sum(share) == pytest.approx(1)
    return {k: sum(w * r[k].double() for w, r in zip(share, raw, strict=True)).float() for k in raw[0]}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor], **tolerance: float) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.mark.parametrize(("decay", "accumulate"), [(0.999, 1), (0.3, 1), (0.999, 2)])
def test_average_is_the_closed_form(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, decay: float, accumulate: int
) -> None:
    ema, history = EMACallback(decay), History()
    trainer = quiet_trainer(
        max_steps=5, callbacks=[ema, history], accumulate_grad_batches=accumulate, limit_val_batches=0
    )
    trainer.fit(build("RegressionModule", warmup_steps=0, lr=1e-2), datamodule=data)
    assert len(history.raw) == 6 and ema.updates == 5
    assert_same(ema.average, closed_form(history.raw, decay), rtol=1e-4, atol=1e-6)
    assert max(float((history.raw[0][k] - ema.average[k]).abs().max()) for k in ema.average) > 1e-3


def test_validation_sees_the_average_and_training_goes_on_from_the_raw_weights(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer
) -> None:
    histories = []
    for callbacks in ([], [EMACallback()]):
        history = History()
        trainer = quiet_trainer(
            max_steps=4, callbacks=[*callbacks, history], val_check_interval=2, check_val_every_n_epoch=None
        )
        trainer.fit(build("RegressionModule"), datamodule=data)
        histories.append(history)
    plain, averaged = histories
    for a, b in zip(plain.raw, averaged.raw, strict=True):
        assert_same(a, b)
    assert len(averaged.validated) == 4  # two fields, twice
    assert_same(averaged.validated[0], closed_form(averaged.raw[:3], 0.999), rtol=1e-4, atol=1e-6)
    assert_same(averaged.validated[2], closed_form(averaged.raw[:5], 0.999), rtol=1e-4, atol=1e-6)


def test_what_is_done_after_training_in_python_is_done_by_the_average(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer
) -> None:
    """Of a model still in memory, without a checkpoint; a second fit goes on from the raw weights."""
    ema, history, model = EMACallback(), History(), build("RegressionModule", warmup_steps=0, lr=1e-2)
    trainer = quiet_trainer(max_steps=4, callbacks=[ema, history])
    trainer.fit(model, datamodule=data)
    assert_same(weights(model), ema.average)
    assert max(float((history.raw[-1][k] - ema.average[k]).abs().max()) for k in ema.average) > 1e-3
    trainer.validate(model, datamodule=data, verbose=False)
    trainer.test(model, datamodule=data, verbose=False)
    batch = next(iter(data.test_dataloader()))
    assert_same(weights(model), ema.average)
    ended, average = history.raw[-1], model.generate(batch, 1, 0)
    trainer.fit_loop.epoch_loop.max_steps = 5
    trainer.fit(model, datamodule=data)
    assert_same(history.raw[5], ended)  # where the second training began
    assert not torch.equal(model.generate(batch, 1, 0), average)


def test_checkpoint_holds_the_average_and_a_resumed_fit_the_raw_weights(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    whole = History()
    ema = EMACallback()
    trainer = quiet_trainer(max_steps=6, callbacks=[ema, whole], limit_val_batches=0)
    trainer.fit(build("RegressionModule"), datamodule=data)

    first, first_ema = History(), EMACallback()
    trainer = quiet_trainer(
        max_steps=6, callbacks=[first_ema, first, _StopAt(3, tmp_path / "a.ckpt")], limit_val_batches=0
    )
    trainer.fit(build("RegressionModule"), datamodule=data)
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    state = {k: v for k, v in checkpoint["state_dict"].items() if k.startswith("network.")}
    assert_same(state, first_ema.average)
    assert_same(checkpoint["fdsr_raw_weights"], first.raw[-1])

    second, second_ema = History(), EMACallback()
    module = build("RegressionModule")
    trainer = quiet_trainer(max_steps=6, callbacks=[second_ema, second], limit_val_batches=0)
    trainer.fit(module, datamodule=data, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert_same(second.raw[0], first.raw[3])
    assert second_ema.raw is not None
    assert_same(second_ema.raw, whole.raw[6])  # as if it had never stopped
    assert_same(second_ema.average, ema.average)

    tested = build("RegressionModule")
    quiet_trainer().validate(tested, datamodule=data, ckpt_path=tmp_path / "a.ckpt", weights_only=True, verbose=False)
    assert_same(weights(tested), first_ema.average)


class _StopAt(L.Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def test_a_checkpoint_saved_while_validating_holds_both(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    ema, history = EMACallback(), History()

    class Save(L.Callback):
        def on_validation_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            trainer.save_checkpoint(tmp_path / "v.ckpt")

    trainer = quiet_trainer(
        max_steps=3, callbacks=[ema, history, Save()], val_check_interval=3, check_val_every_n_epoch=None
    )
    trainer.fit(build("RegressionModule"), datamodule=data)
    checkpoint = torch.load(tmp_path / "v.ckpt", weights_only=True)
    assert_same(checkpoint["fdsr_raw_weights"], history.raw[3])
    assert_same({k: checkpoint["state_dict"][k] for k in ema.average}, ema.average)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_refused(decay: float) -> None:
    with pytest.raises(FdsrError, match="decay"):
        EMACallback(decay)
