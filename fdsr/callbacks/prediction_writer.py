"""Predictions as a CF-conforming Zarr store, or NetCDF file."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import xarray as xr
import zarr
from lightning.pytorch.callbacks import Callback
from zarr.codecs import BloscCodec

from fdsr.data.zarr_groups import array_of, consolidate
from fdsr.errors import FdsrError
from fdsr.grids.cf import coordinates, mapped
from fdsr.modules.downscaling import DownscalingModule
from fdsr.records import code_version


class PredictionWriter(Callback):
    """Writes an ensemble as it is made: one variable a field with dimensions (time, member, lat, lon), float32.

    On a projected grid the last two are (y, x), with the grid mapping and the true latitude and longitude of every point
    beside them. Points that no training step had (land, under a sea's temperature) are missing, NaN.

    Of an ensemble of coarse fields the members are those of its first member, then of its second, and so on: `low_member`
    says which. The store is built beside `output` and renamed when the last time step is in, so an unfinished prediction is
    never mistaken for a finished one; a name that ends in .nc makes it a NetCDF file then. Under several processes each writes
    its own times; chunks never cross them.
    """

    def __init__(self, output: str | Path, overwrite: bool = False) -> None:
        self.output, self.overwrite = Path(output).expanduser(), overwrite
        self.partial = self.output.with_name(f".{self.output.name}.partial")
        self.group: zarr.Group | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "predict" and self.output.exists() and not self.overwrite:
            raise FdsrError(f"output '{self.output}' exists already; add --overwrite, or choose another --output")

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DownscalingModule)
        if trainer.is_global_zero:
            try:
                self._create(trainer, pl_module)
            except OSError as error:
                raise FdsrError(
                    f"output '{self.output}' cannot be written: {error.strerror or error}; choose a writable place"
                ) from error
        trainer.strategy.barrier("prediction store created")
        self.group = zarr.open_group(str(self.partial), mode="r+")

    def _create(self, trainer: L.Trainer, module: DownscalingModule) -> None:
        spec = module.fields.spec
        dataset: Any = trainer.predict_dataloaders.dataset  # type: ignore[union-attr]
        # --trainer.limit_predict_batches predicts the first times alone
        batches = trainer.num_predict_batches[0]
        # where there are fewer times than processes, the number of batches of each is not known beforehand
        last = None if math.isinf(batches) else -(-int(batches) * trainer.world_size // dataset.members)
        times, numbers = dataset.times[:last], np.repeat(getattr(dataset, "numbers", [0]), module.members)
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        xr.Dataset(
            coords={
                "time": ("time", times, {"standard_name": "time", "axis": "T"}),
                "member": ("member", np.arange(numbers.size), {"standard_name": "realization", "axis": "E"}),
                **({"low_member": ("member", numbers)} if dataset.members > 1 else {}),
                **coordinates(spec.grid),
            },
            attrs={
                "Conventions": "CF-1.11",
                "title": "Ensemble super-resolution by fdsr",
                "source": f"{type(module).__name__}, {module.evaluations_per_member} network evaluations a member, seed {module.seed}",
                "history": f"fdsr {code_version()}, training data {spec.fingerprint}",
            },
        ).to_zarr(self.partial, mode="w", zarr_format=3, consolidated=False)
        group = zarr.open_group(str(self.partial), mode="r+")
        places = {"coordinates": "latitude longitude"} if spec.grid.projected else {}
        for name in spec.high_channels:
            group.create_array(
                name,
                shape=(len(times), numbers.size, *spec.shape),
                chunks=(1, 1, *spec.shape),
                dtype="float32",
                fill_value=float("nan"),
                compressors=BloscCodec(cname="zstd", shuffle="shuffle"),
                dimension_names=["time", "member", *spec.grid.names],
                attributes=spec.attributes.get(name, {}) | mapped(spec.grid) | places,
            )

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        assert self.group is not None and isinstance(pl_module, DownscalingModule)
        # position among the predicted fields: every rank takes its stride of them, one field a batch
        item = trainer.global_rank + batch_idx * trainer.world_size
        row, member = divmod(item, trainer.predict_dataloaders.dataset.members)  # type: ignore[union-attr]
        first = member * pl_module.members
        spec = pl_module.fields.spec
        fields = outputs["prediction"].float().cpu()[0]
        if spec.present is not None:
            fields = torch.where(spec.present.cpu(), fields, torch.nan)
        for c, name in enumerate(spec.high_channels):
            array_of(self.group, name)[row, first : first + len(fields)] = fields[:, c].numpy()

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.strategy.barrier("prediction written")
        if trainer.is_global_zero:
            consolidate(str(self.partial))
            finished = self._as_netcdf() if self.output.suffix in (".nc", ".nc4") else self.partial
            if self.output.is_dir():
                shutil.rmtree(self.output)
            finished.replace(self.output)
            shutil.rmtree(self.partial, ignore_errors=True)

    def _as_netcdf(self) -> Path:
        """The store as a file beside it, of format 4 where a library writes that, else 64-bit NetCDF 3."""
        file = self.partial.with_suffix(".file")
        with xr.open_zarr(self.partial, chunks={}) as ds:
            ds.to_netcdf(file)
        return file
