"""How fast data come: readers, batches, and how long a model waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch

from fdsr.data import PairStore, WeatherDataModule
from fdsr.data.serving.readers import available_readers, open_reader
from fdsr.data.zarr_groups import array_of
from fdsr.modules import DownscalingModule

WARM_UP = 3  # batches or reads before the clock starts


@dataclass(frozen=True)
class Speed:
    """Samples (whole time steps, or patches) and decoded megabytes (1e6 bytes) in a second."""

    what: str
    samples: float
    megabytes: float


@dataclass(frozen=True)
class Waiting:
    """A training step's time in seconds (median, data included), and the share of all time spent waiting for data."""

    step: float
    share: float
    steps: int


class TimedLoader:
    """The first `batches` batches of a loader, epoch after epoch, with the time that each was waited for."""

    def __init__(self, loader: Any, batches: int) -> None:
        self.loader, self.batches = loader, batches
        self.waited: list[float] = []
        self.arrived: list[float] = []

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Any]:
        epoch, stream = 0, iter(self.loader)
        for _ in range(self.batches):
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # else the wait for the last step would count as one for data
            asked = time.perf_counter()
            batch = next(stream, None)
            if batch is None:
                epoch += 1
                self.loader.sampler.set_epoch(epoch)
                stream = iter(self.loader)
                batch = next(stream)
            self.arrived.append(time.perf_counter())
            self.waited.append(self.arrived[-1] - asked)
            yield batch


def reader_speeds(store: PairStore, batch_size: int, batches: int, seed: int = 0) -> list[Speed]:
    """Every reader that can read the store: whole time steps in shuffled order, `batch_size` at once, no cache."""
    array = array_of(store.group, "high")
    first, last = store.splits["train"]
    rng = np.random.default_rng(seed)
    size = min(batch_size, last - first)
    found = []
    for name in available_readers(array):
        reader = open_reader(array, name)
        out = np.empty((size, *reader.shape[1:]), np.float32)
        began = 0.0
        for i in range(WARM_UP + batches):
            if i == WARM_UP:
                began = time.perf_counter()
            reader.read((first + rng.choice(last - first, size, replace=False)).tolist(), out)
        seconds = (time.perf_counter() - began) / batches
        found.append(Speed(f"reader {name}, whole steps", size / seconds, out.nbytes / seconds / 1e6))
    return found


def batch_speed(data: WeatherDataModule, batches: int) -> Speed:
    """Training batches as configured, with nothing done to them."""
    loader = data.train_dataloader()
    timed = TimedLoader(loader, WARM_UP + batches)
    size = 0
    for batch in timed:
        size = sum(batch[name].nbytes for name in ("high", "low"))
    seconds = (timed.arrived[-1] - timed.arrived[WARM_UP - 1]) / batches
    what = "patches" if data.patch else "whole fields"
    return Speed(f"batches of {loader.batch_size} {what}", loader.batch_size / seconds, size / seconds / 1e6)


def waiting(module: DownscalingModule, data: WeatherDataModule, steps: int, **trainer: Any) -> Waiting:
    """Train `module` for some steps (its weights change) and measure how long each waited for its batch."""
    module.attach(data.spec)
    timed = TimedLoader(data.train_dataloader(), WARM_UP + steps + 1)
    quiet: dict[str, Any] = {
        "logger": False, "enable_checkpointing": False, "enable_model_summary": False, "enable_progress_bar": False,
    }  # fmt: skip
    L.Trainer(devices=1, max_epochs=1, **(quiet | trainer)).fit(module, train_dataloaders=timed)
    arrived, waited = np.array(timed.arrived[WARM_UP:]), np.array(timed.waited[WARM_UP:])
    return Waiting(float(np.median(np.diff(arrived))), float(waited[1:].sum() / (arrived[-1] - arrived[0])), steps)


def speed_table(store: PairStore, speeds: list[Speed], wait: Waiting | None, model: str) -> str:
    """The facts of one store as lines to read."""
    times, channels, rows, columns = store.high.shape
    place = "kept in memory" if store.resident else f"{store.cached_steps} steps kept in memory"
    width = max(len(s.what) for s in speeds)
    lines = [
        f"store  {store.path}",
        f"       {times} times × {channels} channels × {rows} × {columns}, {store.step_bytes / 1e6:.1f} MB a step, {place}",
        "",
        f"{'':{width}}  {'samples/s':>10}  {'MB/s':>8}",
        *(f"{s.what:{width}}  {s.samples:>10.0f}  {s.megabytes:>8.0f}" for s in speeds),
    ]
    if wait is not None:
        lines += ["", f"{model}: {1e3 * wait.step:.1f} ms a step, waits for data {100 * wait.share:.1f} % of the time "
                      f"({wait.steps} steps)"]  # fmt: skip
    return "\n".join(lines)
