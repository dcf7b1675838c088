"""WeatherDataModule: patches of a pair store for training, whole fields for evaluation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypedDict

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fdsr.data.coarsen import coarsen
from fdsr.data.interpolate import HALO, add_halo
from fdsr.data.patches import PatchKey, PatchSampler
from fdsr.data.prepare import PrepareConfig, prepare
from fdsr.data.source import normalise_axes, open_source, require_variables
from fdsr.data.spec import FieldSpec
from fdsr.data.store import PairStore
from fdsr.data.values import ValueTransform
from fdsr.errors import FdsrError
from fdsr.geometry import latitude_weights


class WeatherBatch(TypedDict, total=False):
    """Physical units, float32; whole fields have the grid's own (H, W)."""

    low: Tensor  # (B, D, h + 2·HALO, w + 2·HALO)
    high: Tensor  # (B, C, H, W), absent when predicting from coarse fields alone
    conditioning: Tensor  # (B, S + 3, H, W), standardised static fields and position
    time: Tensor  # (B,) int64 seconds since 1970
    index: Tensor  # (B,) int64 position in the store


class PatchDataset(Dataset[WeatherBatch]):
    """Patches of (high, low) addressed by PatchKey."""

    def __init__(self, store: PairStore, patch: tuple[int, int]) -> None:
        self.store, self.patch = store, patch
        self.conditioning = store.spec.conditioning()
        self.row_weights = latitude_weights(store.spec.lat.numpy())

    def __getitem__(self, key: PatchKey) -> WeatherBatch:
        spec = self.store.spec
        high, low = self.store.read(key.time)
        (h, w), (fy, fx) = self.patch, spec.factor
        rows = slice(key.row + key.row_shift, key.row + key.row_shift + h)
        columns = torch.arange(key.column + key.column_shift, key.column + key.column_shift + w) % spec.shape[1]
        # coarse cells under the patch and its halo: rows beyond the poles repeat the last, columns wrap or repeat
        cell_rows, cell_columns = (
            torch.arange(corner // f - HALO, (corner + size) // f + HALO)
            for corner, size, f in ((key.row, h, fy), (key.column, w, fx))
        )
        cell_rows = cell_rows.clamp(0, (spec.shape[0] - key.row_shift) // fy - 1)
        whole_columns = spec.shape[1] // fx if spec.periodic else (spec.shape[1] - key.column_shift) // fx
        cell_columns = cell_columns % whole_columns if spec.periodic else cell_columns.clamp(0, whole_columns - 1)
        if key.row_shift or key.column_shift:
            fine_rows = (cell_rows[:, None] * fy + key.row_shift + torch.arange(fy)).flatten()
            fine_columns = (cell_columns[:, None] * fx + key.column_shift + torch.arange(fx)).flatten() % spec.shape[1]
            fine = high[:, fine_rows][..., fine_columns].numpy()
            coarse = torch.from_numpy(coarsen(fine, self.row_weights[fine_rows.numpy()], spec.factor))
        else:
            coarse = low[:, cell_rows][..., cell_columns]
        return {
            "low": coarse,
            "high": high[:, rows][..., columns],
            "conditioning": self.conditioning[:, rows][..., columns],
            "time": _seconds(self.store.times[key.time]),
            "index": torch.tensor(key.time),
        }


class FieldDataset(Dataset[WeatherBatch]):
    """Whole fields of a block of time steps."""

    def __init__(self, store: PairStore, block: tuple[int, int]) -> None:
        self.store, self.block = store, block
        self.times = store.times[slice(*block)]
        self.conditioning = store.spec.conditioning()

    def __len__(self) -> int:
        return self.block[1] - self.block[0]

    def __getitem__(self, i: int) -> WeatherBatch:
        high, low = self.store.read(self.block[0] + i)
        return {
            "low": add_halo(low, self.store.spec.periodic),
            "high": high,
            "conditioning": self.conditioning,
            "time": _seconds(self.times[i]),
            "index": torch.tensor(self.block[0] + i),
        }


class CoarseDataset(Dataset[WeatherBatch]):
    """Whole coarse fields alone, from any gridded source on the coarse grid of `spec`."""

    def __init__(self, path: str, spec: FieldSpec) -> None:
        self.spec, self.path = spec, path
        if _is_pair_store(path):
            store = PairStore(path)
            spec.require_same(store.spec, path)
            self.times: NDArray = store.times
            self._read = lambda i: store.read(i)[1]
        else:
            ds = normalise_axes(open_source(path), path)
            require_variables(ds, spec.low_channels, path)
            for axis, want in (("lat", spec.lat_low), ("lon", spec.lon_low)):
                have = ds[axis].values.astype(np.float64)
                if have.shape != tuple(want.shape) or not np.allclose(have, want.numpy(), atol=1e-3):
                    raise FdsrError(
                        f"'{path}' has {have.size} {axis} points from {have[0]:g} to {have[-1]:g}; the model was trained for "
                        f"{want.numel()} from {want[0]:g} to {want[-1]:g}; regrid the coarse fields"
                    )
            self.times = ds.time.values
            self._read = lambda i: _read_fields(ds, spec.low_channels, i, path)
        self.conditioning = spec.conditioning()

    def __len__(self) -> int:
        return int(self.times.size)

    def __getitem__(self, i: int) -> WeatherBatch:
        return {
            "low": add_halo(self._read(i), self.spec.periodic),
            "conditioning": self.conditioning,
            "time": _seconds(self.times[i]),
            "index": torch.tensor(i),
        }


class WeatherDataModule(L.LightningDataModule):
    """Streams low- and high-resolution pairs from a Zarr pair store.

    Args:
        store: a pair store; missing, it is prepared there if `source` is given. None: prepared once in `cache`.
        source, variables, factor, split, gap, static, transforms, interpolation, crop: see PrepareConfig; only needed to
            prepare.
        low: predict from the coarse fields of this store instead of the test block.
        patch: rows and columns of training patches, multiples of the factor; null trains on whole fields.
        batch_size: patches per batch and process; whole fields come one at a time.
        shift: augment by moving the coarse grid a random part of a cell over the fine one, coarsening anew; of use where
            training times are few. Needs coarse channels that are the coarsened fine ones.
        patches_per_step: patches drawn from each training time step in an epoch.
        cached_steps: decoded time steps kept in memory.
        num_workers: loader processes (started fresh, never forked).
        seed: root of all draws of patches.
        cache: folder of prepared stores; default $FDSR_CACHE or ./cache.
    """

    def __init__(
        self,
        store: str | None = None,
        source: str | None = None,
        variables: list[str] | None = None,
        factor: int | tuple[int, int] = 4,
        split: dict[str, int | float | list[str]] | None = None,
        gap: int = 1,
        static: list[str] | None = None,
        transforms: dict[str, ValueTransform] | None = None,
        interpolation: str = "bicubic",
        crop: tuple[float, float, float, float] | None = None,
        low: str | None = None,
        patch: tuple[int, int] | None = (48, 48),
        batch_size: int = 16,
        patches_per_step: int = 32,
        shift: bool = False,
        cached_steps: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        if store is None and source is None and low is None:
            raise FdsrError("data needs a pair store (data.store) or a source to prepare one from (data.source)")
        self.low, self.patch, self.batch_size, self.shift = low, patch, batch_size, shift
        self.patches_per_step, self.cached_steps, self.num_workers, self.seed = (
            patches_per_step,
            cached_steps,
            num_workers,
            seed,
        )
        self.config: PrepareConfig | None = None
        if source is not None:
            self.config = PrepareConfig(
                source=source,
                variables=variables or [],
                factor=(factor, factor) if isinstance(factor, int) else (factor[0], factor[1]),
                static=static or [],
                gap=gap,
                transforms=transforms or {},
                interpolation=interpolation,
                crop=crop,
                **({"split": split} if split else {}),
            )
        if store is None and self.config is not None:
            store = str(Path(cache or os.environ.get("FDSR_CACHE", "cache")) / f"pairs-{self.config.key()}.zarr")
        self.path = store
        self.store: PairStore | None = None
        self._spec: FieldSpec | None = None

    @property
    def spec(self) -> FieldSpec:
        """The store's specification; for predictions from coarse fields alone it is handed over from the checkpoint."""
        if self.store is not None:
            return self.store.spec
        if self._spec is None:
            raise FdsrError(
                "no pair store is open; predictions from coarse fields (--low) need --ckpt_path, which knows the grid"
            )
        return self._spec

    @spec.setter
    def spec(self, spec: FieldSpec) -> None:
        self._spec = spec

    def prepare_data(self) -> None:
        """Make the pair store if it is missing; Lightning calls this in one process only."""
        if self.low is None and self.path is not None and not Path(self.path).exists() and self.config is not None:
            prepare(self.config, self.path)

    def setup(self, stage: str) -> None:
        if self.low is not None and stage == "predict":
            return
        if self.path is None:
            raise FdsrError("data needs a pair store (data.store) or a source to prepare one from (data.source)")
        if self.store is None:
            self.store = PairStore(self.path, self.cached_steps)
            variables = list(self.config.variables) if self.config else self.store.spec.high_channels
            for name in variables:
                if name not in self.store.spec.high_channels:
                    have = ", ".join(self.store.spec.high_channels)
                    raise FdsrError(f"pair store '{self.path}' has no variable '{name}'; it has {have}")

    def fields(self, split: str) -> FieldDataset:
        """The whole fields of a split: train, val or test."""
        if self.store is None:
            raise FdsrError("the pair store is not open yet; call setup first")
        if split not in self.store.splits:
            raise FdsrError(f"pair store '{self.path}' has no '{split}' block; it has {', '.join(self.store.splits)}")
        return FieldDataset(self.store, self.store.splits[split])

    def train_dataloader(self) -> DataLoader:
        if self.patch is None or (
            self.trainer and getattr(self.trainer.lightning_module, "trains_on_whole_fields", False)
        ):
            return self._whole_fields("train")
        assert self.store is not None
        spec = self.store.spec
        sampler = PatchSampler(
            self.store.splits["train"], spec.shape, self.patch, spec.factor, spec.periodic, self.patches_per_step, self.seed,
            shift=self.shift,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )  # fmt: skip
        if self.shift and spec.low_channels != spec.high_channels:
            raise FdsrError("data.shift needs coarse fields that are the coarsened fine ones; set it to false")
        if len(sampler) < self.batch_size:
            raise FdsrError(
                f"an epoch has {len(sampler)} patches a process, fewer than batch_size {self.batch_size}; raise patches_per_step"
            )
        # a run that resumes in mid-epoch goes on where it stopped; checkpoints are saved before a batch counts as completed
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current if self.trainer else None
        done = progress.processed if progress else 0
        if done < len(sampler) // self.batch_size:
            sampler.skip = done * self.batch_size
        return DataLoader(
            PatchDataset(self.store, self.patch),
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=True,
            num_workers=self.num_workers,
            multiprocessing_context="spawn" if self.num_workers else None,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader | list:
        assert self.store is not None
        return self._whole_fields("val") if "val" in self.store.splits else []

    def test_dataloader(self) -> DataLoader:
        return self._whole_fields("test")

    def predict_dataloader(self) -> DataLoader:
        if self.low is not None:
            return self._evaluation_loader(CoarseDataset(self.low, self.spec))
        return self._whole_fields("test")

    def _whole_fields(self, split: str) -> DataLoader:
        return self._evaluation_loader(self.fields(split))

    def _evaluation_loader(self, dataset: FieldDataset | CoarseDataset) -> DataLoader:
        """Every field once, in uneven shares between processes; one field a batch."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader(
            dataset, batch_size=1, sampler=range(rank, len(dataset), world), pin_memory=torch.cuda.is_available()
        )


def _seconds(time: np.datetime64) -> Tensor:
    return torch.tensor(int(time.astype("datetime64[s]").astype(np.int64)))


def _is_pair_store(path: str) -> bool:
    return (Path(path) / "high").exists() and (Path(path) / "low").exists()


def _read_fields(ds: object, names: list[str], i: int, path: str) -> Tensor:
    step = ds[names].isel(time=i).load()  # type: ignore[index]
    planes = np.stack([step[n].transpose("lat", "lon").values for n in names]).astype(np.float32)
    for name, plane in zip(names, planes, strict=True):
        if not np.isfinite(plane).all():
            raise FdsrError(f"'{path}': variable '{name}' has missing values at time {step.time.values}; fill them")
    return torch.from_numpy(planes)
