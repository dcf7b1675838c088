"""What a test leaves behind: the metric table, the spectra, and one example to draw."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
import xarray as xr
from lightning.pytorch.callbacks import Callback

from fdsr.atomic import written_whole
from fdsr.callbacks.example import example_dataset
from fdsr.callbacks.logged_names import score
from fdsr.callbacks.run_record import code_version, device_name
from fdsr.callbacks.spec_metrics import spec_metrics
from fdsr.data.field_spec import FieldSpec
from fdsr.data.interpolate import HALO
from fdsr.errors import FdsrError
from fdsr.metrics import FieldMetrics, SpectralScores, require_scorable
from fdsr.metrics.registry import MetricNames, find_metrics
from fdsr.metrics.results import scores_dataset
from fdsr.modules.downscaling import DownscalingModule, Ensemble
from fdsr.modules.field_codec import FieldCodec

TABLE_FIELDS = (
    "method",
    "variable",
    "metric",
    "value",
    "split",
    "members",
    "nfe",
    "seed",
    "n_times",
    "device",
    "commit",
)


class ScoreRecorder(Callback):
    """Scores a test over all ranks and writes `test_metrics.csv`, `test_scores.nc`, `test_spectra.nc` and `test_example.nc`.

    The table has every score of `metrics` (see `fdsr.metrics.registry.find_metrics`) that says something of so many members;
    `test_scores.nc` is what `fdsr.metrics.evaluate` gives for the same prediction, with spectra and rank histograms. A value
    that is missing where the truth is not stops the test with its place.

    The metrics live here, not in the module, so that they never reach a checkpoint. Every rank feeds its own share;
    sums are merged when the test ends.
    """

    def __init__(
        self, run_dir: str | Path, method: str, overwrite: bool = False, metrics: MetricNames | None = None
    ) -> None:
        self.chosen = find_metrics(metrics)
        self.run_dir, self.method, self.overwrite = Path(run_dir), method, overwrite
        self.metrics: FieldMetrics | None = None
        self.members, self.n_times = 0, 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "test" and (self.run_dir / "test_metrics.csv").exists() and not self.overwrite:
            raise FdsrError(
                f"'{self.run_dir}/test_metrics.csv' exists already; add --overwrite, or choose another --run"
            )

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DownscalingModule)
        if not isinstance(pl_module.codec, FieldCodec):
            return  # images are judged as a set, by FIDCallback
        self.metrics = spec_metrics(pl_module.codec.spec, self.chosen, pl_module.members).to(pl_module.device)
        self.members, self.n_times = 0, 0

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.metrics is None:
            return
        assert isinstance(pl_module, DownscalingModule)
        low = outputs["low"][..., HALO:-HALO, HALO:-HALO]
        prediction, truth = outputs["prediction"].float(), outputs["truth"].float()
        _require_finite(pl_module.fields.spec, prediction, truth, outputs["time"])
        self.metrics.update(prediction, truth, low)
        self.members, self.n_times = prediction.shape[1], self.n_times + prediction.shape[0]
        if batch_idx == 0 and trainer.is_global_zero:
            self._write_example(pl_module, outputs)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.metrics is None:
            return
        assert isinstance(pl_module, DownscalingModule)
        spec = pl_module.fields.spec
        values = self.metrics.compute(self.members)
        count = trainer.strategy.reduce(torch.tensor(float(self.n_times), device=pl_module.device), reduce_op="sum")
        units = {name: spec.attributes.get(name, {}).get("units", "1") for name in spec.high_channels}
        scores = scores_dataset([self.metrics], units, self.members, int(count))
        if not trainer.is_global_zero:
            return
        facts = {
            "method": self.method,
            "split": "test",
            "members": self.members,
            "nfe": pl_module.evaluations_per_member,
            "seed": pl_module.seed,
            "n_times": int(count),
            "device": device_name(pl_module.device),
            "commit": code_version(),
        }
        rows = [
            {**facts, "variable": variable, "metric": metric, "value": f"{value:.6g}"}
            for metric, by_variable in values.items()
            for variable, value in by_variable.items()
        ]
        _write_csv(self.run_dir / "test_metrics.csv", rows)
        if "spectral" in self.metrics.metrics:
            spectra = cast(SpectralScores, self.metrics["spectral"]).spectra()
            _spectra_dataset(spectra, spec.high_channels).to_netcdf(self.run_dir / "test_spectra.nc", engine="scipy")
        scores.assign_attrs(facts).to_netcdf(self.run_dir / "test_scores.nc", engine="scipy")
        for logger in trainer.loggers:
            logger.log_metrics(
                {score(str(r["metric"]), str(r["variable"])): float(str(r["value"])) for r in rows},
                step=trainer.global_step,
            )

    def _write_example(self, module: DownscalingModule, outputs: Ensemble) -> None:
        """The first test time: coarse field, truth, two members, mean and spread."""
        ds = example_dataset(module.fields.spec, outputs, self.method)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        ds.to_netcdf(self.run_dir / "test_example.nc", engine="scipy")


def _require_finite(spec: FieldSpec, prediction: torch.Tensor, truth: torch.Tensor, times: torch.Tensor) -> None:
    """FdsrError with the place of the first value of (B, M, C, H, W) or (B, C, H, W) that cannot be scored."""
    rows, columns = spec.lat.numpy(), spec.lon.numpy()
    axes = ("y", "x") if spec.projected else ("lat", "lon")
    for b, seconds in enumerate(times.tolist()):
        for c, name in enumerate(spec.high_channels):
            time = str(np.datetime64(int(seconds), "s"))
            require_scorable(prediction[b, :, c], truth[b, c], name, time, rows, columns, axes)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, TABLE_FIELDS)
        writer.writeheader()
        writer.writerows(rows)


def _spectra_dataset(spectra: Any, variables: list[str]) -> xr.Dataset:
    """Power of members, truth and the ensemble mean's error by variable, band and ring."""
    dims = ("variable", "band", "ring")

    def values(x: Any) -> np.ndarray:
        return np.asarray(torch.as_tensor(x).double().cpu())

    return xr.Dataset(
        {
            "power": (dims, values(spectra.power)),
            "reference": (dims, values(spectra.reference)),
            "error": (dims, values(spectra.error)),
        },
        coords={
            "variable": variables,
            "wavenumber": (("band", "ring"), values(spectra.wavenumber), {"units": "cycles km-1"}),
            "scored": (("band", "ring"), values(spectra.scored).astype(np.int8)),
            "latitude": ("band", values(spectra.latitude)),
        },
    )
