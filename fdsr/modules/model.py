"""A trained model in Python: from a user's dataset to an ensemble in the same form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields as fields_of
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from fdsr.data.making.sources import Source, View, parse_channels
from fdsr.data.output.form import Form, form_of_input, standard_form
from fdsr.data.output.store import PredictionStore
from fdsr.data.serving.coarse import Asked, CoarseDataset
from fdsr.data.serving.prefetch import prefetched
from fdsr.data.serving.units import PredictionUnits, UnitSampler
from fdsr.errors import FdsrError, require_at_least
from fdsr.modules.downscaling import DownscalingModule
from fdsr.modules.field_codec import FieldCodec, known
from fdsr.modules.hub import local_copy
from fdsr.modules.identity import attributes_of, settings_of
from fdsr.modules.pretrained import load_module


class Model:
    """A trained method of weather fields, ready to downscale.

    Args:
        module: the method, with its weights.
        device: where it computes; default: a GPU if there is one.
    """

    def __init__(self, module: DownscalingModule, device: str | torch.device | None = None) -> None:
        if not isinstance(module.codec, FieldCodec):
            raise FdsrError(f"{type(module).__name__} was trained on images; only models of weather fields downscale")
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.module = module.eval().to(torch.device(device or default))

    def __repr__(self) -> str:
        home = self.module.home
        step = " × ".join(f"{s:g}" for s in home.low_grid.steps)
        names = f"{', '.join(home.low_channels)} → {', '.join(home.high_channels)}"
        return f"Model({type(self.module).__name__}: {names}, ×{home.factor[0]},{home.factor[1]} from {step} {home.grid.units})"

    def downscale(
        self,
        ds: Source | Path,
        members: int = 8,
        seed: int = 0,
        steps: int | None = None,
        static: Source | Path | None = None,
        output: str | Path | None = None,
        *,
        variables: Sequence[str] = (),
        axes: Mapping[str, str] | None = None,
        select: Mapping[str, Any] | None = None,
        region: tuple[float, float, float, float] | None = None,
        any_spacing: bool = False,
        tile: str | None = None,
        conserve: str | None = None,
        overwrite: bool = False,
        sharded: bool = False,
        progress: bool = False,
    ) -> xr.Dataset:
        """An ensemble of fine fields for the coarse ones in `ds`: float32, with a dimension `member`.

        A dataset comes back in its own form: names, units, order and orientation of its axes, turn of longitude, attributes. It is
        read time by time, so it may be lazy and larger than memory; so may what comes back, where `output` is given. Members depend
        on (seed, time, member) alone. An unfinished `output` of the same call is gone on with.

        Args:
            ds: coarse fields: a dataset, or a path of what `fdsr prepare` reads; its form is then that of `fdsr predict`.
            members: of the ensemble; a deterministic method has one.
            seed: root of all noise.
            steps: network evaluations of the sampler, where the method has one; None: as it was trained with.
            static: static fields that the model needs where it was not trained; a source, or a pair store of the place.
            output: a Zarr store (or NetCDF file, .nc) to write as it goes and return opened lazily.
            variables: where fields stand under other names, NAME=VARIABLE or NAME=VARIABLE@LEVEL.
            axes: what axes (time, lat, lon, y, x) are called, where that is not known by itself.
            select: the value to take of an axis that is none of these.
            region: LAT_MIN, LAT_MAX, LON_MIN, LON_MAX of what to take.
            any_spacing: take fields that are spaced otherwise than those of the training.
            tile: `auto`, `off` or ROWSxCOLUMNS, see `fdsr.backbones.tiling`; None: as the model says.
            conserve: how the ensemble is made to agree with the coarse fields; None: as the model says.
            overwrite: replace an `output` that is there.
            sharded: keep each map of `output` as a shard of smaller chunks.
            progress: show how far it has come.

        Raises FdsrError where the fields are of another kind than the model's, or lack what it needs.
        """
        require_at_least(1, "", members=members, steps=steps)
        ds, given = _source(ds, "ds"), None if static is None else _source(static, "static")
        module, home = self.module, self.module.home
        asked = Asked(parse_channels(variables), View(axes or {}, select or {}), given, region, any_spacing)
        found = CoarseDataset(ds, home, asked)
        with self._set(steps=steps, tile=tile, conserve=conserve, members=members), torch.inference_mode():
            members = module.ensemble_size
            module.move_to(found.spec)
            units = PredictionUnits(found, members, getattr(module, "member_batch", members))
            if isinstance(ds, xr.Dataset):
                form = form_of_input(ds, found, asked, members)
            else:
                form = standard_form(found.spec, found.times, found.numbers, members)
            settings = settings_of(module, found, members, seed)
            said = attributes_of(module, found, settings, found.attributes)
            if output is None:
                return self._in_memory(units, form, seed, said, progress)
            store = PredictionStore(output, overwrite, sharded)
            store.require_free()
            store.begin(form, settings, said)
            sampler = UnitSampler(units)
            sampler.skip(store.open(form))
            try:
                for time, first, fields in self._pieces(units, sampler, seed, progress):
                    store.write(time, first, fields, home.high_channels)
                store.flush()
            finally:
                store.close()
            store.finish()
        return xr.open_zarr(store.output) if store.output.is_dir() else xr.open_dataset(store.output, chunks={})

    def _in_memory(
        self, units: PredictionUnits, form: Form, seed: int, said: Mapping[str, str], progress: bool
    ) -> xr.Dataset:
        arrays = {channel: np.full(form.sizes, np.nan, np.float32) for channel in form.variables}
        for time, first, fields in self._pieces(units, UnitSampler(units), seed, progress):
            for c, channel in enumerate(arrays):
                form.place(arrays[channel], channel, time, first, fields[:, c])
        variables = {form.variables[c]: (form.dims, array, form.attributes[c]) for c, array in arrays.items()}
        return xr.Dataset(variables, form.coords, {"Conventions": "CF-1.11"} | dict(said))

    def _pieces(
        self, units: PredictionUnits, sampler: UnitSampler, seed: int, progress: bool
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """(time, first member, fields (m, C, H, W)) of what is left, the next piece's fields read meanwhile."""
        module, spec = self.module, self.module.fields.spec
        batches = prefetched(lambda: (units.__getitems__([i]) for i in sampler), 1)
        for batch in tqdm(batches, "downscaling", len(sampler), unit="piece", disable=not progress):
            number, streams = int(batch["members"][0, 0]), batch["streams"][0].tolist()
            moved = {k: v.to(module.device) for k, v in batch.items()}
            fields = module.generate(moved, len(streams) if streams[0] == 0 else streams, seed)[0]
            yield *units.place(int(batch["field"]), number), known(fields, spec.present).numpy()

    def ensemble_size(self, members: int) -> int:
        """How many members there are where so many are asked for: one of a deterministic model."""
        with self._set(steps=None, members=members):
            return self.module.ensemble_size

    @contextmanager
    def _set(self, steps: int | None, **settings: Any) -> Iterator[None]:
        """The method's settings for one call. Raises FdsrError for one that it does not have."""
        module: Any = self.module
        if steps is not None:
            sampler = getattr(module, "sampler", None)
            if not is_dataclass(sampler) or "steps" not in {f.name for f in fields_of(sampler)}:
                raise FdsrError(f"{type(module).__name__} has no number of steps to choose; leave steps out")
            try:
                settings["sampler"] = replace(sampler, steps=steps)  # type: ignore[type-var]
                settings["sampler"].times(module.schedule)
            except ValueError as error:
                raise FdsrError(f"steps: {error}") from error
        settings = {name: value for name, value in settings.items() if value is not None}
        for name in settings:
            if not hasattr(module, name):
                raise FdsrError(f"{type(module).__name__} has no setting '{name}'; leave it out")
        before = {name: getattr(module, name) for name in settings}
        try:
            for name, value in settings.items():
                setattr(module, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(module, name, value)


def _source(given: Source | Path, what: str) -> Source:
    """A dataset, or a path as text. Raises FdsrError for anything else."""
    if isinstance(given, xr.Dataset | str | Path):
        return given if isinstance(given, xr.Dataset) else str(given)
    mend = "; make it one: .to_dataset()" if isinstance(given, xr.DataArray) else ""
    raise FdsrError(f"{what} is a {type(given).__name__}, not an xarray.Dataset or a path{mend}")


def load(path: str | Path, device: str | torch.device | None = None) -> Model:
    """The model saved at `path`: a folder of `fdsr export`, a checkpoint of a run, or an address on the Hugging Face hub, ORG/NAME.

    Raises FdsrError where there is none, or it is of another version of fdsr.
    """
    return Model(load_module(local_copy(path)), device)
