"""The model that comes with the repository still does what its card says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fdsr.data import WeatherDataModule
from fdsr.metrics import FieldMetrics, Task
from fdsr.modules import InterpolationModule, load_module

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_shipped_model_scores_as_on_its_card(tmp_path: Path) -> None:
    folder = ROOT / "experiments/pretrained/two_stages_x4"
    assert sum(f.stat().st_size for f in folder.iterdir()) < 8_200_000
    model = load_module(folder)
    data = WeatherDataModule(
        source=str(ROOT / "data/era5_sample.zarr"), variables=["t2m", "u10", "v10", "msl"], factor=4,
        static=["orography", "land_fraction"], split={"train": 16, "val": 2, "test": 4}, gap=1, cache=str(tmp_path),
    )  # fmt: skip
    data.prepare_data()
    data.setup("test")
    model.spec.require_same(data.spec, "the sample")
    bicubic = InterpolationModule("bicubic")
    bicubic.attach(data.spec)
    batch = next(iter(data.test_dataloader()))
    scores = []
    for module in (model, bicubic):
        metrics = FieldMetrics(Task(data.spec.grid, data.spec.high_channels))
        metrics.update(module.generate(batch, 2, 0), batch["high"])
        scores.append(metrics.compute())
    ours, theirs = scores
    ratio = torch.tensor([ours["crps"][v] / theirs["mae"][v] for v in data.spec.high_channels])
    assert float(ratio.mean()) < 0.56  # 0.52 on the card, over four times; two members of one time scatter a little
    assert all(ours["lsd"][v] < 3 < theirs["lsd"][v] for v in data.spec.high_channels)
