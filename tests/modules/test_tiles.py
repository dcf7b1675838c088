"""Members do not depend on how fields are cut: every method, its first stage, batches, and the settings."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from synthetic import TINY_DDGAN, randomise

from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.errors import FdsrError
from fdsr.modules import DDPMModule, DownscalingModule, RegressionModule
from fdsr.modules.two_stages import measured, read_regression

Build = Callable[..., DownscalingModule]
# a receptive field of ten points: the store has 24 × 48
NET = {"width": 8, "multipliers": [1], "groups": 4, "norm": "pixel"}
TIMELESS = NET | {"time_embedding": False}
METHODS: dict[str, dict[str, Any]] = {
    "DDPMModule": {"backbone_args": NET},
    "FourierDDPMModule": {"backbone_args": NET},
    "DDGANModule": TINY_DDGAN | {"backbone_args": NET},
    "CRPSModule": {"backbone_args": TIMELESS},
    "RegressionModule": {"backbone_args": TIMELESS},
}


@pytest.mark.parametrize("name", METHODS)
def test_members_do_not_depend_on_the_tiles_nor_on_batches(build: Build, field_batch: WeatherBatch, name: str) -> None:
    """To 1e-5 of the deviation of the field, whatever is evaluated together."""
    module = build(name, **METHODS[name], tile="off")
    whole = module.generate(field_batch, 3, 5)
    tolerance = 1e-5 * float(whole.std())
    calls: list[torch.Size] = []
    module.network.register_forward_pre_hook(lambda _, given: calls.append(given[0].shape))
    for tile in ("8x8", "24x8", "16x12"):
        module.tile = tile
        for members_at_once in (1, 16):
            module.member_batch = members_at_once
            torch.testing.assert_close(module.generate(field_batch, 3, 5), whole, rtol=0, atol=tolerance)
    assert 44 in {shape[-1] for shape in calls}


def test_the_first_stage_is_cut_as_well(
    build: Build, store: PairStore, data: WeatherDataModule, quiet_trainer: Callable[..., L.Trainer], tmp_path: Any,
    field_batch: WeatherBatch,
) -> None:  # fmt: skip
    regression = build("RegressionModule", backbone_args=TIMELESS)
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(regression.train(), data)
    randomise(regression)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    stage = measured(read_regression(str(tmp_path / "one.ckpt"), store.spec, "store"), data.fields("train"))
    module = DDPMModule(
        backbone_args=NET, target="regression", regression_ckpt=str(tmp_path / "one.ckpt"), members=2, tile="off"
    )
    module.attach(store.spec, stage)
    randomise(module.eval())
    whole = module.generate(field_batch, 2, 5)
    assert module.fields.regression is not None
    seen: list[int] = []
    module.fields.regression._hidden[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-1]))
    module.tile = "24x8"
    torch.testing.assert_close(module.generate(field_batch, 2, 5), whole, rtol=0, atol=1e-5 * float(whole.std()))
    assert 44 in seen


def test_tiles_are_no_part_of_what_a_checkpoint_is(build: Build, quiet_trainer: Callable[..., L.Trainer]) -> None:
    """The setting can be another at any time, and fields that fit are evaluated whole without it."""
    module = build("RegressionModule")
    assert isinstance(module, RegressionModule) and module.tile == "auto" and module.codec.tiler is module.tiler
    module.tile = "off"
    assert module.tiler.setting == "off" and module.codec.tiler is module.tiler
    assert not any("tile" in key for key in module.state_dict())
    with pytest.raises(FdsrError, match="tile 'large' is not understood"):
        module.tile = "large"


def test_small_fields_are_evaluated_as_ever(build: Build, field_batch: WeatherBatch) -> None:
    module = build("FourierDDPMModule")
    fresh = module.generate(field_batch, 2, 5)
    module.tile = "off"
    assert torch.equal(module.generate(field_batch, 2, 5), fresh)


def test_half_precision_is_the_networks_alone(
    build: Build, data: WeatherDataModule, quiet_trainer: Callable[..., L.Trainer]
) -> None:
    """Under the trainer's bf16-mixed members differ by the network's rounding, and still coarsen to the coarse field."""
    data.setup("test")
    drawn = []
    for precision in ("32-true", "bf16-mixed"):
        module = build("FourierDDPMModule", conserve="end")
        trainer = quiet_trainer(precision=precision, limit_predict_batches=1)
        drawn.append(trainer.predict(module, data.test_dataloader())[0])
    full, rounded = (out["prediction"] for out in drawn)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, full)
    deviation = full.std((0, 1, 3, 4), keepdim=True)
    assert float(((rounded - full) / deviation).abs().mean()) < 0.02
    means = [x.unflatten(-1, (-1, 4)).mean(-1) for x in (rounded, full)]
    assert float((means[0] - means[1]).abs().max()) > 0  # other members, of the same coarse field
    weights = torch.from_numpy(module.spec.grid.row_areas).float()
    blocks = [(m * weights[:, None]).unflatten(-2, (-1, 4)).sum(-2) for m in means]
    assert float(((blocks[0] - blocks[1]) / weights.mean() / deviation).abs().max()) < 4e-4


def test_settings_of_the_command_line(
    program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that was trained without them is tested in tiles and conserving; a method without a network has neither."""
    config, run = configure("RegressionModule"), ["--run", tmp_path / "run"]
    assert program("fit", "--config", config, *run, "--trainer.max_steps", "1") == 0
    assert program("test", "--config", config, *run, "--tile", "8x8+0", "--conserve", "end") == 0
    with (tmp_path / "run/test_metrics.csv").open() as file:
        departures = [float(r["value"]) for r in csv.DictReader(file) if r["metric"] == "coarse_consistency"]
    assert departures and max(departures) < 1e-3
    capsys.readouterr()
    assert program("test", "--config", config, *run, "--tile", "small", "--overwrite") == 2
    assert "tile 'small' is not understood" in capsys.readouterr().err
    bare = configure("InterpolationModule", name="bare")
    assert program("test", "--config", bare, "--run", tmp_path / "bare", "--tile", "8x8") == 2
    assert "InterpolationModule has no network of its own for --tile; leave it out" in capsys.readouterr().err
