"""WeatherDataModule: patches of a pair store for training, whole fields for evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fdsr.data.choices import Flip, Missing, ReaderName, require_choice
from fdsr.data.field_spec import FieldSpec
from fdsr.data.making.config import PrepareConfig
from fdsr.data.making.sources import View, parse_channels
from fdsr.data.making.sources.remote import is_remote
from fdsr.data.place import of_pairs
from fdsr.data.resuming import ResumableDataModule
from fdsr.data.serving.augment import require_flips, require_odd
from fdsr.data.serving.coarse import Asked, CoarseDataset
from fdsr.data.serving.context import Surroundings
from fdsr.data.serving.datasets import FieldDataset, PatchDataset, WholeFields
from fdsr.data.serving.loader import BatchLoader
from fdsr.data.serving.patches import PatchSampler
from fdsr.data.serving.shares import evaluation_share
from fdsr.data.serving.store import PairStore
from fdsr.data.serving.units import PredictionUnits, UnitSampler
from fdsr.errors import FdsrError, require_at_least
from fdsr.grids.dates import year_and_day


class WeatherDataModule(ResumableDataModule):
    """Streams low- and high-resolution pairs from a Zarr pair store.

    Args:
        store: a pair store; missing, it is prepared there if `source` is given. null: prepared once in `cache`.
        source: what a pair store is prepared from: Zarr store, NetCDF file or glob, or GRIB file; a path or a URL that
            fsspec knows (s3://, gs://, https://).
        low: predict from the coarse fields of this store, or of any source that is spaced as the model's coarse grid, wherever it
            lies, instead of the test block; what they are called there is as in `low_variables`, else as in `variables`.
        low_static: a source of the static fields where `low` lies, or a pair store of that place; not needed where the model was
            trained.
        region: what to take of `low`: LAT_MIN, LAT_MAX, LON_MIN, LON_MAX; null: all of it.
        any_spacing: let a model predict and be tested on fields that are spaced otherwise than those it was trained on.
        patch: rows and columns of training patches, multiples of the factor; null trains on whole fields.
        batch_size: patches (or whole fields, if patch is null) per training batch and process; evaluation takes one field
            at a time.
        patches_per_step: patches drawn from each training time step in an epoch; 1 for whole fields.
        context: coarse cells on each side of a patch that networks see beside it, coarse and fine, and no loss counts: what stands at
            its edges has neighbours as in a whole field. Costs the time of the larger patch.
        by_area: draw patches with a probability proportional to the area at their middle, as scores count it, where rows are
            latitudes; otherwise every row is seen as often.
        time_channels: tell networks day of year and local solar time, as four further channels of the condition.
        position: tell networks where on the sphere they are, as three channels of the condition; false for models that are to travel.
        shift: augment by moving the coarse grid a random part of a cell over the fine one, coarsening anew; of use where
            training times are few. Needs coarse channels that are the coarsened fine ones.
        roll: augment whole circles of longitude by beginning them anywhere; narrower patches begin anywhere always.
        flips: axes that a random half of the patches have reversed, wind components with them. Static and position channels
            are rolled and mirrored along: each cell keeps the values of the place it came from.
        evaluate_every: validation and test take every n-th time of their blocks: where neighbours resemble each other, few
            independent times say as much as many. Predictions are of all.
        cached_steps: decoded time steps kept in memory (a store that decodes to less than 1 GiB is kept whole). The order
            of a larger store's patches draws from half as many at a time, so that each is decoded once in an epoch.
        reader: what reads chunks; auto takes the fastest that can read the store.
        reader_threads: time steps read at the same time; null: by the processor's cores.
        prefetch: batches fetched ahead by a thread; 0: none.
        num_workers: loader processes instead of the thread (begun by forkserver, never forked); each has a cache of its own.
        seed: root of all draws of patches.
        cache: folder of prepared stores; default $FDSR_CACHE or ./cache.
        storage_options: what fsspec needs to open a store or a source at an address: credentials, endpoint.
        prepare: how a pair store is prepared from `source`: all other arguments of PrepareConfig.

    Raises FdsrError for settings that contradict each other, or that no store can meet.
    """

    def __init__(
        self,
        store: str | None = None,
        source: str | None = None,
        low: str | None = None,
        low_static: str | None = None,
        region: tuple[float, float, float, float] | None = None,
        any_spacing: bool = False,
        patch: tuple[int, int] | None = (48, 48),
        batch_size: int = 16,
        patches_per_step: int = 32,
        context: int = 0,
        by_area: bool = False,
        time_channels: bool = False,
        position: bool = True,
        shift: bool = False,
        roll: bool = False,
        flips: Sequence[Flip] = (),
        evaluate_every: int = 1,
        cached_steps: int = 64,
        reader: ReaderName = "auto",
        reader_threads: int | None = None,
        prefetch: int = 2,
        num_workers: int = 0,
        seed: int = 0,
        cache: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        **prepare: Any,
    ) -> None:
        super().__init__()
        # more processes than fields to evaluate: Lightning asks that such shares be allowed
        self.allow_zero_length_dataloader_with_multiple_devices = True
        if store is None and source is None and low is None:
            raise FdsrError("data needs a pair store (data.store) or a source to prepare one from (data.source)")
        if region is not None and low is None:
            raise FdsrError(
                "data.region takes a part of coarse fields; give data.low (--low), or cut the source by data.crop"
            )
        require_at_least(0, "data.", context=context, prefetch=prefetch, num_workers=num_workers)
        require_at_least(
            1, "data.", evaluate_every=evaluate_every, batch_size=batch_size, patches_per_step=patches_per_step,
            cached_steps=cached_steps, reader_threads=reader_threads,
        )  # fmt: skip
        require_choice(reader, ReaderName, "reader")
        self.low, self.patch, self.batch_size, self.shift = low, patch, batch_size, shift
        self.roll, self.flips, self.patches_per_step = roll, require_flips(flips), patches_per_step
        self.context, self.by_area, self.time_channels, self.position = context, by_area, time_channels, position
        self.evaluate_every = evaluate_every
        self.cached_steps, self.reader, self.reader_threads = cached_steps, reader, reader_threads
        self.prefetch, self.num_workers, self.seed, self.storage_options = prefetch, num_workers, seed, storage_options
        self.config: PrepareConfig | None = None
        # what coarse fields of another source are called
        named = parse_channels(prepare.get("low_variables") or prepare.get("variables") or ())
        fixed = parse_channels(prepare.get("static") or ())
        view = View(prepare.get("axes") or {}, prepare.get("select") or {})
        missing: Missing = prepare.get("missing") or "error"
        self.asked = Asked([*named, *fixed], view, low_static, region, any_spacing, missing, storage_options or {})
        if low is not None and not prepare.get("low_source"):
            prepare.pop("low_variables", None)
        # a store that is there already must be what they say; of one that stands in the cache they are the name
        self._given = {} if store is None else PrepareConfig.given(prepare)
        if source is not None:
            self.config = PrepareConfig(source, storage_options=storage_options or {}, **prepare)
        if store is None and self.config is not None:
            store = str(Path(cache or os.environ.get("FDSR_CACHE", "cache")) / f"pairs-{self.config.key()}.zarr")
        self.path = store if store is None or is_remote(store) else str(Path(store).expanduser())
        self.store: PairStore | None = None
        self._home: FieldSpec | None = None
        self._spec: FieldSpec | None = None
        # the store as it is opened for other splits, and their places
        self._regions: dict[str, tuple[PairStore, FieldSpec]] = {}
        self._coarse: CoarseDataset | None = None

    @property
    def spec(self) -> FieldSpec:
        """The store's specification, or once a model `serve`s here its kind at the place of these data."""
        if self._spec is not None:
            return self._spec
        if self.store is None:
            raise FdsrError("no pair store is open; predictions from coarse fields (--low) need a --ckpt_path")
        return self.store.spec

    def serve(self, home: FieldSpec) -> FieldSpec:
        """`home`, what a model was trained on, at the place of these data: whole fields come with its conditions from now on.

        Raises FdsrError where these are of another kind.
        """
        self._home, self._regions = home, {}
        if self.store is not None:
            self._spec = of_pairs(home, self.store.spec, str(self.path), self.asked.any_spacing)
            if self._spec.time_channels:
                year_and_day(self.store.times[:1])
        elif self.low is not None:
            self._coarse = CoarseDataset(self.low, home, self.asked)
            self._spec = self._coarse.spec
        return self.spec

    def prepare_data(self) -> None:
        """Make the pair store if it is missing, and what a method needs of it that an earlier version of fdsr did not measure.

        Lightning calls this in one process only.
        """
        if self.low is not None or self.path is None or is_remote(self.path):
            return
        if self.config is not None and not Path(self.path).exists():
            # what trains on a finished store needs none of it
            from fdsr.data.making.prepare import TargetExistsError, prepare

            with suppress(TargetExistsError):  # made by another process since the line above
                prepare(self.config, self.path)
        module = self.trainer.lightning_module if self.trainer else None
        if getattr(module, "needs_local_scale", False) and not self._brings_its_kind:
            from fdsr.data.making.local_scale import require_local_scale

            require_local_scale(self.path)

    def setup(self, stage: str) -> None:
        if self.low is not None and stage == "predict":
            return
        if self.path is None:
            raise FdsrError("data needs a pair store (data.store) or a source to prepare one from (data.source)")
        split = _BLOCKS.get(stage, "test")
        if self.store is None or self.store.of_split(split) is not self.store:
            self._spec = self._home = None
            self._regions = {}
            self.store = PairStore(
                self.path, self.cached_steps, self.reader, self.reader_threads, storage_options=self.storage_options,
                time_channels=self.time_channels, position=self.position, split=split,
            )  # fmt: skip
            if stage == "fit" or not self._brings_its_kind:
                self._require_prepared(self.store)

    @property
    def _brings_its_kind(self) -> bool:
        """Whether a trained method is at work, which knows what data it serves."""
        return self.trainer is not None and getattr(self.trainer.lightning_module, "attached", False)

    def _require_prepared(self, store: PairStore) -> None:
        """Raise FdsrError where a store that was there already is not what the settings of preparing say."""
        names = {
            "variables": store.spec.high_channels,
            "low_variables": store.spec.low_channels,
            "static": store.spec.static_channels,
        }
        given = dict(self._given)
        for setting in (n for n in names if n in given):
            # under the names that they have in the store: z500 where z@500 was asked for
            want, have = [c.name for c in parse_channels(given.pop(setting))], list(names[setting])
            if want != have:
                raise FdsrError(
                    f"pair store '{store.path}' has the {setting} {', '.join(have)}, not {', '.join(want)}; {_MEND}"
                )
        if given:
            stored: dict[str, Any] = dict(store.group.attrs["config"])  # type: ignore[arg-type]
            PrepareConfig.from_dict(stored, {}).require(given, store.path, _MEND)

    def fields(self, split: str, every: int = 1) -> FieldDataset:
        """The whole fields of a split, train, val or test, at every n-th of its times."""
        if self.store is None:
            raise FdsrError("the pair store is not open yet; call setup first")
        if split not in self.store.splits:
            raise FdsrError(f"pair store '{self.path}' has no '{split}' block; it has {', '.join(self.store.splits)}")
        spec = self.elsewhere(split) or self.spec
        store = self._regions[split][0] if split in self._regions else self.store
        return FieldDataset(store, store.splits[split], every, spec)

    @property
    def regions(self) -> list[str]:
        """The splits that have a region each, where the store is split by region."""
        return [] if self.store is None else list(self.store.windows)

    def elsewhere(self, split: str) -> FieldSpec | None:
        """The place of a split's fields, where the store is split by region and that of these data now is another; else None."""
        assert self.store is not None
        if split not in self._regions:
            store = self.store.of_split(split)
            if store is self.store:
                return None
            self._regions[split] = (store, of_pairs(self._home or self.store.spec, store.spec, store.path))
        return self._regions[split][1]

    def train_dataloader(self) -> BatchLoader:
        if block := getattr(self.trainer.lightning_module if self.trainer else None, "whole_fields_of", None):
            return self._whole_fields(block)
        assert self.store is not None
        spec, block = self.store.spec, self.store.splits["train"]
        if self.shift and (spec.independent_low or spec.low_channels != spec.high_channels):
            raise FdsrError("data.shift needs coarse fields that are the coarsened fine ones; set it to false")
        require_odd(spec.high_channels, spec.attributes, spec.high_transforms, self.flips)
        require_odd(spec.low_channels, spec.attributes, spec.low_transforms, self.flips)
        steps_fit = self.store.resident or block[1] - block[0] <= self.store.cached_steps
        # a whole field is used once: nothing is gained by keeping it
        window = None if steps_fit or self.patch is None else max(1, self.store.cached_steps // 2)
        patch, areas = self.patch or spec.shape, spec.grid.row_areas if self.by_area else None
        sampler = PatchSampler(
            block, spec.shape, patch, spec.factor, spec.periodic, self.patches_per_step if self.patch else 1, self.seed,
            shift=self.shift, roll=self.roll, flips=self.flips, areas=areas, window=window, rank=self._place[0],
            world_size=self._place[1],
        )  # fmt: skip
        if len(sampler) < (size := self.batch_size):
            mend = "raise patches_per_step" if self.patch else "lower batch_size"
            what = "patches" if self.patch else "fields"
            raise FdsrError(f"an epoch has {len(sampler)} {what} a process, fewer than batch_size {size}; {mend}")
        sampler.skip = self.batches_done(len(sampler) // size) * size
        surroundings = None
        if self.context:
            surroundings = Surroundings(spec.shape, patch, spec.factor, spec.periodic, self.context, self.shift)
        patches, ahead, workers = PatchDataset(self.store, patch, surroundings), self.prefetch, self.num_workers
        return BatchLoader(patches, sampler, size, drop_last=True, prefetch=ahead, num_workers=workers)

    def val_dataloader(self) -> BatchLoader | list:
        assert self.store is not None
        return self._whole_fields("val", self.evaluate_every) if "val" in self.store.splits else []

    def test_dataloader(self) -> BatchLoader:
        return self._whole_fields("test", self.evaluate_every)

    def predict_dataloader(self) -> BatchLoader:
        """Pieces of an ensemble, one a batch; see `PredictionUnits`. Lightning's limit of batches is one of fields here."""
        if self.low is not None and self._coarse is None:
            raise FdsrError("predictions from coarse fields (--low) need a trained model; give --ckpt_path")
        fields: WholeFields = self._coarse or self.fields("test")
        (rank, world_size), module, count = self._place, None, len(fields)
        if self.trainer:
            module, limit = self.trainer.lightning_module, self.trainer.limit_predict_batches
            count = int(limit * world_size) if isinstance(limit, int) else int(limit * count)
            self.trainer.limit_predict_batches = 1.0
        members = getattr(module, "ensemble_size", 1)
        units = PredictionUnits(fields, members, getattr(module, "member_batch", members), world_size, count)
        sampler = UnitSampler(units, rank, world_size)
        return BatchLoader(units, sampler, batch_size=1, prefetch=self.prefetch, sized=len(units) >= world_size)

    def _whole_fields(self, split: str, every: int = 1) -> BatchLoader:
        """Every field once, in uneven shares between processes; one field a batch."""
        fields, (rank, world_size) = self.fields(split, every), self._place
        share = evaluation_share(len(fields), rank, world_size)
        return BatchLoader(fields, share, batch_size=1, prefetch=self.prefetch, sized=len(fields) >= world_size)


# what blocks the stages of Lightning look at, and test beside them
_BLOCKS = {"fit": "train", "validate": "val"}
_MEND = "leave that setting of data out, or name another store"
