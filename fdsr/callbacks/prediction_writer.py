"""Predictions as a CF-conforming Zarr store, or NetCDF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from fdsr.backbones.tiling import Crew
from fdsr.data.output.form import standard_form
from fdsr.data.output.store import PredictionStore
from fdsr.data.serving.units import PredictionUnits, UnitSampler
from fdsr.modules.downscaling import DownscalingModule
from fdsr.modules.field_codec import known
from fdsr.modules.identity import attributes_of, settings_of
from fdsr.modules.network import NetworkModule


class PredictionWriter(Callback):
    """Writes an ensemble as it is made: one variable a field with dimensions (time, member, lat, lon), float32.

    On a projected grid the last two are (y, x), with the grid mapping and the true latitude and longitude of every point
    beside them. Points that no training step had (land, under a sea's temperature) are missing, NaN.

    Of an ensemble of coarse fields the members are those of its first member, then of its second, and so on: `low_member`
    says which. How it is written, and gone on with after an interruption, says `PredictionStore`. Under several processes each
    writes its own members; chunks never cross them. Where members are fewer than processes, several share the tiles of each, and
    one of them writes.
    """

    def __init__(self, output: str | Path, overwrite: bool = False, sharded: bool = False) -> None:
        self.store = PredictionStore(output, overwrite, sharded)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "predict":
            self.store.require_free()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DownscalingModule)
        loader: Any = trainer.predict_dataloaders
        units: PredictionUnits = loader.dataset
        fields, spec = units.fields, pl_module.fields.spec
        form = standard_form(spec, units.times, getattr(fields, "numbers", [0]), units.members)
        if trainer.is_global_zero:
            settings = settings_of(pl_module, fields, units.members, pl_module.seed) | {"times": str(len(units.times))}
            self.store.begin(form, settings, attributes_of(pl_module, fields, settings, fields.attributes))
        trainer.strategy.barrier("prediction store created")
        loader.sampler.skip(self.store.open(form))
        if loader.sampler.crew_size > 1 and isinstance(pl_module, NetworkModule):
            pl_module.tiler.crew = _crew(trainer, loader.sampler)

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        assert isinstance(pl_module, DownscalingModule)
        loader: Any = trainer.predict_dataloaders
        if loader.sampler.place:
            return
        spec, units = pl_module.fields.spec, loader.dataset
        time, first = units.place(int(batch["field"]), int(batch["members"][0, 0]))
        self.store.write(time, first, known(outputs["prediction"][0], spec.present).numpy(), spec.high_channels)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.store.flush()
        trainer.strategy.barrier("prediction written")
        self.store.close()
        if trainer.is_global_zero:
            self.store.finish()
        if isinstance(pl_module, NetworkModule):
            pl_module.tiler.crew = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.store.close()


def _crew(trainer: L.Trainer, sampler: UnitSampler) -> Crew:
    """That of this process; all make the groups of all, in one order."""
    size = sampler.crew_size
    firsts = range(0, trainer.world_size, size)
    groups = [torch.distributed.new_group(list(range(f, min(f + size, trainer.world_size)))) for f in firsts]
    rank_zero_info(f"{size} processes share the tiles of each member: fewer members than processes")
    return Crew(sampler.place, size, groups[trainer.global_rank // size])
