"""A prediction's store: written in the background, member by member, and gone on with after whatever ended it."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from fdsr.atomic import write_text
from fdsr.data.output.form import Form
from fdsr.data.zarr_groups import array_of, consolidate
from fdsr.errors import FdsrError

_AHEAD = 2  # writes that may wait while the next members are computed
SHARD_SIDE = 256  # points along the sides of the chunks that a sharded map is made of


class PredictionStore:
    """A Zarr store beside `output` that becomes it when all of it is there; a name that ends in .nc makes it a NetCDF file then.

    Chunks are maps: one variable at one time of one member each, which several processes write side by side. Sharded, each is one
    file still, of pieces that can be read alone. What is finished is noted when it is on disk; the same prediction, begun again, goes
    on from there and ends in the same bytes. One of other `settings` is refused.

    Args:
        output: the store, or NetCDF file.
        overwrite: replace what is there, finished or not.
        sharded: keep each map as a shard of smaller chunks.
    """

    def __init__(self, output: str | Path, overwrite: bool = False, sharded: bool = False) -> None:
        self.output, self.overwrite, self.sharded = Path(output).expanduser(), overwrite, sharded
        self.partial = self.output.with_name(f".{self.output.name}.partial")
        self._settings, self._done, self._zarr = (self.partial / n for n in ("settings.json", "done", "store"))
        self._form: Form | None = None
        self._group: zarr.Group | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def require_free(self) -> None:
        """Raise FdsrError where the output is there already and may not be replaced."""
        if self.output.exists() and not self.overwrite:
            raise FdsrError(f"output '{self.output}' exists already; add --overwrite, or choose another --output")

    def begin(self, form: Form, settings: Mapping[str, str], attributes: Mapping[str, str]) -> None:
        """Make an empty store, or find one that the same prediction has begun. By one process, before any opens it.

        Raises FdsrError where another prediction has begun one, or it cannot be written.
        """
        settings = dict(settings) | {"layout": f"{form.dims} {form.chunks}{' sharded' if self.sharded else ''}"}
        with self._in_one_line():
            if self._begun(settings):
                for left in self._zarr.rglob("*.partial"):  # what a process that was killed was writing
                    left.unlink()
                return
            shutil.rmtree(self.partial, ignore_errors=True)
            self._done.mkdir(parents=True)
            self._create(form, attributes)
            write_text(self._settings, json.dumps(settings, indent=1))

    def _begun(self, settings: Mapping[str, str]) -> bool:
        """Whether there is an unfinished store of these settings."""
        if not self._settings.exists() or not self._zarr.exists():
            return False
        before = json.loads(self._settings.read_text())
        different = [
            f"{k} {before.get(k)}, not {settings.get(k)}" for k in settings if before.get(k) != settings.get(k)
        ]
        if different and not self.overwrite:
            raise FdsrError(
                f"output '{self.output}' is unfinished, of another prediction: {'; '.join(different)}; give its settings to go on "
                "with it, add --overwrite, or choose another --output"
            )
        return not different

    def _create(self, form: Form, attributes: Mapping[str, str]) -> None:
        xr.Dataset(coords=dict(form.coords), attrs={"Conventions": "CF-1.11"} | dict(attributes)).to_zarr(
            self._zarr, mode="w", zarr_format=3, consolidated=False
        )
        group = zarr.open_group(str(self._zarr), mode="r+")
        layout: dict[str, Any] = {"chunks": form.chunks}
        if self.sharded:
            smaller = (
                min(size, SHARD_SIDE) if axis in ("row", "column") else 1
                for axis, size in zip(form.order, form.chunks, strict=True)
            )
            inner = tuple(smaller)
            # a shard is of whole chunks
            layout = {"chunks": inner, "shards": tuple(-(-n // i) * i for n, i in zip(form.chunks, inner, strict=True))}
        for channel, name in form.variables.items():
            group.create_array(
                name, shape=form.sizes, **layout, dtype="float32", fill_value=float("nan"),
                compressors=BloscCodec(cname="zstd", shuffle="shuffle"), dimension_names=form.dims,
                attributes=plain(form.attributes[channel]),
            )  # fmt: skip

    def open(self, form: Form) -> set[tuple[int, int]]:
        """Open it for writing, in every process: (time, member) of what is finished."""
        self._form, self._group = form, zarr.open_group(str(self._zarr), mode="r+")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="prediction")
        return {(int(a), int(b)) for a, _, b in (p.name.partition("-") for p in self._done.iterdir())}

    def write(self, time: int, first: int, fields: NDArray[np.float32], channels: Sequence[str]) -> None:
        """Write members (m, C, H, W) from `first` on of a time, while the caller goes on. Raises FdsrError where earlier ones failed."""
        assert self._writer is not None
        while len(self._waiting) >= _AHEAD:
            self._settle()
        self._waiting.append(self._writer.submit(self._write, time, first, fields, list(channels)))

    def _write(self, time: int, first: int, fields: NDArray[np.float32], channels: list[str]) -> None:
        assert self._form is not None and self._group is not None
        for c, channel in enumerate(channels):
            self._form.place(array_of(self._group, self._form.variables[channel]), channel, time, first, fields[:, c])
        for member in range(first, first + len(fields)):
            (self._done / f"{time}-{member}").touch()

    def _settle(self) -> None:
        with self._in_one_line():
            self._waiting.popleft().result()

    def flush(self) -> None:
        """Wait until all is written. Raises FdsrError where something could not be."""
        while self._waiting:
            self._settle()

    def close(self) -> None:
        """Write what waits, as far as it can be, and stop."""
        if self._writer is not None:
            self._writer.shutdown(wait=True)
            self._writer = None
        self._waiting.clear()

    def finish(self) -> None:
        """Put it in the place of `output`. By one process, when all have flushed."""
        with self._in_one_line():
            consolidate(str(self._zarr))
            finished = self._as_netcdf() if self.output.suffix in (".nc", ".nc4") else self._zarr
            if self.output.is_dir():
                shutil.rmtree(self.output)
            finished.replace(self.output)
            shutil.rmtree(self.partial, ignore_errors=True)

    def _as_netcdf(self) -> Path:
        """The store as a file, of format 4 where a library writes that, else 64-bit NetCDF 3."""
        file = self.partial / "file"
        with xr.open_zarr(self._zarr, chunks={}) as ds:
            ds.to_netcdf(file)
        return file

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            mend = "choose a writable place"
            if self._settings.exists():
                mend = "make room; what is finished is kept, and the same command goes on from there"
            raise FdsrError(f"output '{self.output}' cannot be written: {error.strerror or error}; {mend}") from error


def plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as JSON has them."""
    return {str(k): v.tolist() if isinstance(v, np.ndarray | np.generic) else v for k, v in attributes.items()}
