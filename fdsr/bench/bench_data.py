"""`fdsr bench-data`: is the disk, the decoding or the model what training waits for?"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning as L
import torch

from fdsr.bench.data_speed import batch_speed, reader_speeds, speed_table, waiting
from fdsr.data import WeatherDataModule
from fdsr.errors import FdsrError
from fdsr.modules import DownscalingModule, RegressionModule
from fdsr.training.lightning_cli import FdsrCLI
from fdsr.training.refusals import refused_in_one_line, require_files

ModelAndData = tuple[DownscalingModule, WeatherDataModule]


class _Configured(FdsrCLI):
    """Builds what a configuration says, and runs nothing."""

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        return L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)


def from_config(arguments: list[str]) -> ModelAndData:
    """The model and the data of a configuration file (arguments as `fdsr fit` takes them)."""
    require_files(arguments)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    with refused_in_one_line():
        built = _Configured(run=False, args=arguments)
    if not isinstance(built.datamodule, WeatherDataModule):
        raise FdsrError("bench-data measures weather stores; this configuration has other data")
    return built.model, built.datamodule


def from_store(store: str, patch: tuple[int, int] | None, batch_size: int) -> ModelAndData:
    """A store with a small regression U-Net."""
    network = {"width": 32, "multipliers": [1, 2, 2], "blocks": 1, "time_embedding": False}
    return RegressionModule(backbone_args=network), WeatherDataModule(store=store, patch=patch, batch_size=batch_size)


def bench_data(module: DownscalingModule, data: WeatherDataModule, batches: int, steps: int) -> str:
    """The table of one store and one model; steps = 0 leaves the model out."""
    # the trainer's remarks on what is deliberate here
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    data.prepare_data()
    data.setup("fit")
    assert data.store is not None
    speeds = [*reader_speeds(data.store, data.batch_size, batches), batch_speed(data, batches)]
    wait = None
    if steps:
        gpu = torch.cuda.is_available()
        wait = waiting(module, data, steps, accelerator="auto", precision="bf16-mixed" if gpu else "32-true")
    return speed_table(data.store, speeds, wait, type(module).__name__)
