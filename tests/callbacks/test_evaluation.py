"""Scores and pictures during training: what they measure, when, and that training does not notice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import default_collate

from fdsr.callbacks import EMACallback, EnsembleCallback, JSONLLogger, SamplePictures, SpectralErrorCallback
from fdsr.callbacks.evaluation import EvaluationCallback, shares
from fdsr.callbacks.evaluation_mode import evaluation_mode
from fdsr.data import PairStore, WeatherDataModule
from fdsr.errors import FdsrError
from fdsr.metrics import FieldMetrics, Task
from fdsr.modules import DownscalingModule, load_module

Build = Callable[..., DownscalingModule]
MakeTrainer = Callable[..., L.Trainer]
EVERY_SECOND = {"val_check_interval": 2, "check_val_every_n_epoch": None, "log_every_n_steps": 1}


class Losses(L.Callback):
    """Training losses and validation losses of a run, and the global random state after each step."""

    def __init__(self) -> None:
        self.train: list[float] = []
        self.val: list[float] = []
        self.states: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *args: Any) -> None:
        self.train.append(float(outputs["loss"]))
        self.states.append(torch.get_rng_state())

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.val.append(float(trainer.callback_metrics["val_loss"]))


def logged(run: Path) -> dict[int, dict[str, float]]:
    """The scores in metrics.jsonl by step."""
    found: dict[int, dict[str, float]] = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        scores = {k: v for k, v in line.items() if k.startswith("fdsr/")}
        assert not scores.keys() & found.get(line["step"], {}).keys(), "logged twice"
        if scores:
            found.setdefault(line["step"], {}).update(scores)
    return found


def expected_scores(
    module: DownscalingModule, data: WeatherDataModule, times: list[int], members: int
) -> dict[str, float]:
    """Every metric of the weights in `module` on times of the validation block, by the metrics' own front door."""
    fields, spec = data.fields("val"), module.spec
    metrics = FieldMetrics(Task(spec.grid, spec.high_channels))
    for i in times:
        batch = default_collate([fields[i]])
        metrics.update(module.generate(batch, members, module.seed), batch["high"])
    return {f"fdsr/{m}/{v}": value for m, values in metrics.compute().items() for v, value in values.items()}


def assert_scores(scores: dict[str, float], expected: dict[str, float], metrics: set[str]) -> None:
    assert set(scores) == {f"fdsr/{metric}/{variable}" for metric in metrics for variable in ("t2m", "u10")}
    for key, value in scores.items():
        assert value == pytest.approx(expected[key], rel=1e-5, abs=1e-6, nan_ok=True), key


POINTWISE = {"rmse", "mae", "bias"}
ENSEMBLE = POINTWISE | {"crps", "crps_biased", "spread_skill"}
SPECTRAL = {"lsd", "lsd_fine", "melr", "effective_resolution", "resolved_scale", "zonal_lsd", "zonal_melr"}


def test_scores_are_those_of_the_averaged_weights(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """After the last step the checkpoint holds what was scored, whichever way round the callbacks stand."""
    trainer = quiet_trainer(
        max_steps=4,
        logger=JSONLLogger(tmp_path),
        callbacks=[
            EnsembleCallback(2, times=2, members=3),
            SpectralErrorCallback(4, times=1, members=2),
            EMACallback(),
        ],
        **EVERY_SECOND,
    )
    trainer.fit(build("FourierDDPMModule", lr=1e-2, warmup_steps=0), datamodule=data)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    module, scores = load_module(tmp_path / "end.ckpt"), logged(tmp_path)
    assert set(scores) == {2, 4}
    whole, one = expected_scores(module, data, [0, 1], 3), expected_scores(module, data, [0], 2)
    assert_scores(scores[4], whole | {k: v for k, v in one.items() if k.split("/")[1] in SPECTRAL}, ENSEMBLE | SPECTRAL)
    # the raw weights would have scored differently by far more than the tolerance
    raw = torch.load(tmp_path / "end.ckpt", weights_only=True)["fdsr_raw_weights"]
    module.load_state_dict(raw, strict=False)
    other = expected_scores(module, data, [0, 1], 3)
    assert abs(other["fdsr/bias/t2m"] / whole["fdsr/bias/t2m"] - 1) > 1e-3


def test_training_does_not_notice(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """To the last bit: losses, weights, the global random state; and a checkpoint of the same make."""
    runs = []
    for i, callbacks in enumerate(
        ([], [EnsembleCallback(1), SpectralErrorCallback(3, on_validation=False), SamplePictures(3)])
    ):
        losses = Losses()
        module = build(
            "FourierDDPMModule", backbone_args={"width": 8, "multipliers": [1, 2], "groups": 4, "dropout": 0.2}
        )
        trainer = quiet_trainer(
            max_steps=6, callbacks=[*callbacks, EMACallback(), losses], precision="bf16-mixed", **EVERY_SECOND
        )
        trainer.fit(module.train(), datamodule=data)
        trainer.save_checkpoint(tmp_path / f"{i}.ckpt")
        runs.append((losses, torch.load(tmp_path / f"{i}.ckpt", weights_only=True)))
        assert module.training
    (plain, a), (watched, b) = runs
    assert plain.train == watched.train and plain.val == watched.val and len(plain.train) == 6
    assert all(torch.equal(x, y) for x, y in zip(plain.states, watched.states, strict=True))
    assert a.keys() == b.keys() and a["callbacks"].keys() == b["callbacks"].keys()
    for part in ("state_dict", "fdsr_raw_weights"):
        assert a[part].keys() == b[part].keys()
        assert all(torch.equal(a[part][k], b[part][k]) for k in a[part])


class Calls:
    """Counts what a module is asked to generate."""

    def __init__(self, module: DownscalingModule) -> None:
        self.made: list[tuple[int, int, bool]] = []
        generate = module.generate

        def count(batch: Any, members: int, seed: int) -> Tensor:
            self.made.append((int(batch["index"][0]), members, module.training))
            return generate(batch, members, seed)

        module.generate = count  # type: ignore[method-assign]


def test_one_ensemble_serves_all_that_are_due(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    module = build("FourierDDPMModule")
    calls = Calls(module)
    callbacks = [
        EnsembleCallback(3, on_validation=False, times=2, members=4),
        SpectralErrorCallback(3, on_validation=True, times=1, members=2),
        SamplePictures(None, time=-1, members=3),
    ]
    trainer = quiet_trainer(max_steps=4, callbacks=callbacks, **EVERY_SECOND)
    trainer.fit(module, datamodule=data)
    # validation at 2; both scores at 3, the first time with the larger ensemble; validation at 4
    at_validation = [(11, 2, False), (12, 3, False)]
    assert sorted(calls.made[:2]) == at_validation and sorted(calls.made[4:]) == at_validation
    assert calls.made[2:4] == [(11, 4, False), (12, 4, False)]
    assert {p.name for p in (tmp_path / "samples").iterdir()} == {"step_0000002.png", "step_0000004.png"}


def test_a_moment_is_scored_once(build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer) -> None:
    """Due after step 2 and in the validation that follows it: the same weights, so once. Accumulated batches are no steps."""
    module = build("FourierDDPMModule")
    calls = Calls(module)
    trainer = quiet_trainer(
        max_steps=2, accumulate_grad_batches=2, callbacks=[EnsembleCallback(2, times=1)],
        val_check_interval=4, check_val_every_n_epoch=None,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert calls.made == [(11, 4, False)]


def test_scores_can_be_monitored(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    best = ModelCheckpoint(tmp_path, monitor="fdsr/crps/t2m", filename="best")
    trainer = quiet_trainer(
        max_steps=4, logger=JSONLLogger(tmp_path), enable_checkpointing=True,
        callbacks=[EnsembleCallback(), EMACallback(), best], **EVERY_SECOND,
    )  # fmt: skip
    trainer.fit(build("FourierDDPMModule", lr=1e-2, warmup_steps=0), datamodule=data)
    values = [scores["fdsr/crps/t2m"] for scores in logged(tmp_path).values()]
    assert len(values) == 2 and best.best_model_score == pytest.approx(min(values))


def test_validate_scores_too(build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    module = build("FourierDDPMModule")
    trainer = quiet_trainer(logger=JSONLLogger(tmp_path), callbacks=[EnsembleCallback(members=3), EMACallback()])
    trainer.validate(module, datamodule=data, verbose=False)
    assert_scores(logged(tmp_path)[0], expected_scores(module, data, [0, 1], 3), ENSEMBLE)


def test_a_deterministic_method_has_no_ensemble_scores(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    callbacks = [EnsembleCallback(metrics="+coarse_consistency"), SpectralErrorCallback(), SamplePictures()]
    trainer = quiet_trainer(max_steps=2, logger=JSONLLogger(tmp_path), callbacks=callbacks, **EVERY_SECOND)
    trainer.fit(build("RegressionModule"), datamodule=data)
    assert {key.split("/")[1] for key in logged(tmp_path)[2]} == POINTWISE | SPECTRAL | {"coarse_consistency"}
    # a random network's members are far from the coarse field in units of it, and finite
    assert 0 < logged(tmp_path)[2]["fdsr/coarse_consistency/t2m"] < 100
    assert (tmp_path / "samples" / "step_0000002.png").stat().st_size > 5000


def test_everything_comes_back_after_an_error(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer
) -> None:
    """The raw weights too: whoever catches the exception may save them."""
    module, ema = build("RegressionModule", lr=1e-2, warmup_steps=0), EMACallback()

    class Fail(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
            if trainer.global_step < 3:
                return
            before = [p.detach().clone() for p in pl_module.parameters()]
            pl_module.network.eval()
            with pytest.raises(RuntimeError, match="power cut"), evaluation_mode(trainer, pl_module):
                assert not pl_module.training and not torch.is_grad_enabled()
                assert any(not torch.equal(p, b) for p, b in zip(pl_module.parameters(), before, strict=True))
                raise RuntimeError("power cut")
            assert pl_module.training and not pl_module.network.training and torch.is_grad_enabled()
            assert all(torch.equal(p, b) for p, b in zip(pl_module.parameters(), before, strict=True))

    quiet_trainer(max_steps=3, callbacks=[ema, Fail()], limit_val_batches=0).fit(module.train(), datamodule=data)
    assert ema.updates == 3


class Wants(EvaluationCallback):
    def __init__(self, rank_zero: bool = False) -> None:
        super().__init__()
        self.needs_rank_zero = rank_zero


def test_shares_are_even_and_pictures_are_made_on_rank_zero() -> None:
    wanted = [(Wants(), {0, 3, 6, 9}), (Wants(True), {5}), (Wants(), {0, 9})]
    assert shares(wanted, 1) == [[5, 0, 3, 6, 9]]
    assert shares(wanted, 2) == [[5, 3, 9], [0, 6]]
    assert sorted(map(len, shares(wanted, 3))) == [1, 2, 2]
    assert shares(wanted, 7) == [[5], [0], [3], [6], [9], [], []]


@pytest.mark.parametrize(
    ("n", "times", "expected"), [(9, 3, [0, 4, 8]), (2, 5, [0, 1]), (7, 1, [0]), (4, None, [0, 1, 2, 3])]
)
def test_positions_are_evenly_spread(n: int, times: int | None, expected: list[int]) -> None:
    assert EnsembleCallback(times=times).positions(n) == expected


def test_refused(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FdsrError, match=r"EnsembleCallback would never run: give every_n_steps"):
        EnsembleCallback(on_validation=False)
    for setting in ("every_n_steps", "times", "members"):
        with pytest.raises(FdsrError, match=f"SpectralErrorCallback: {setting} is 0; it must be at least 1"):
            SpectralErrorCallback(**cast("Any", {setting: 0}))
    with pytest.raises(FdsrError, match=r"time is 2, but the validation block has 2 times"):
        quiet_trainer(max_steps=1, callbacks=[SamplePictures(time=2)]).fit(build("RegressionModule"), datamodule=data)
    assert data.store is not None
    monkeypatch.setattr(data.store, "splits", {"train": (0, 10), "test": (14, 17)})
    with pytest.raises(FdsrError, match="no 'val' block"):
        quiet_trainer(max_steps=1, callbacks=[EnsembleCallback()]).fit(build("RegressionModule"), datamodule=data)


def test_other_data_are_refused(build: Build, quiet_trainer: MakeTrainer) -> None:
    class Images(L.LightningDataModule):
        """Data without fields."""

    with pytest.raises(FdsrError, match=r"EnsembleCallback looks at weather fields.*take it out of trainer\.callbacks"):
        quiet_trainer(max_steps=1, callbacks=[EnsembleCallback()]).fit(build("RegressionModule"), datamodule=Images())
