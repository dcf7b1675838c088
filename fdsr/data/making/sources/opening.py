"""Opening a source lazily, whatever its format and place."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import xarray as xr

from fdsr.data.making.periods import DATED_AXIS
from fdsr.data.making.sources.remote import first_line, is_remote, patiently, require_protocol
from fdsr.errors import FdsrError
from fdsr.grids.axes import normalise_axes, time_axis
from fdsr.units import conversions

StorageOptions = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """A file format: how its paths end, and how it is opened without reading fields."""

    name: str
    endings: tuple[str, ...]
    open: Callable[[str, StorageOptions], xr.Dataset]


def open_source(path: str, storage_options: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Open a Zarr, NetCDF or GRIB source lazily and rename its axes to time, row, column.

    Rows are put north first and columns west to east. Raises FdsrError if the path is missing or unreadable, or an axis
    cannot be found.
    """
    return normalise_axes(open_raw(path, storage_options), path)


def open_raw(path: str, storage_options: StorageOptions | None = None) -> xr.Dataset:
    """Open Zarr (format 2 or 3), NetCDF (one file or a glob) or GRIB, decoded by its CF attributes but as it is otherwise.

    Fields are read when they are asked for; only a glob of files makes dask arrays. Raises FdsrError if the source is
    missing, unreachable or unreadable.
    """
    options = storage_options or {}
    if not is_remote(path) and not Path(path).exists() and not glob(path):  # noqa: PTH207  the pattern may be absolute
        raise FdsrError(f"source '{path}' does not exist; check the path (data.source or --source)")
    form = next((f for f in FORMATS if path.lower().rstrip("*").endswith(f.endings)), FORMATS[-1])
    with warnings.catch_warnings():
        # stores without consolidated metadata are common and fine here
        warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated", RuntimeWarning)
        if is_remote(path):
            require_protocol(path)
            return patiently(lambda: form.open(path, options), path)
        try:
            return form.open(path, options)
        except FdsrError:
            raise
        except Exception as error:
            reason = first_line(error)
            if counted := re.search("time units '(.*? since .*?)'", reason):  # months and years have no fixed length
                reason = f"no dates can be told from '{counted[1]}'; give the time axis hours or days since a date ({DATED_AXIS})"
            raise FdsrError(f"source '{path}' cannot be opened as {form.name}: {reason}") from error


def _open_zarr(path: str, options: StorageOptions) -> xr.Dataset:
    return xr.open_zarr(path, chunks=None, storage_options=dict(options) if is_remote(path) else None)


def _open_netcdf(path: str, options: StorageOptions) -> xr.Dataset:
    files = _local_files(path, options)
    if len(files) == 1:
        return xr.open_dataset(files[0])
    units: dict[str, tuple[str | None, str]] = {}  # of every variable: its unit, and the first file that has it
    static: dict[str, xr.DataArray] = {}  # fields without time, from the first file that has them

    def note(ds: xr.Dataset) -> xr.Dataset:
        ds = _in_units_of_first(ds, units)
        # of the fields that vary, so that files of one kind remain, which are then joined along time
        time = time_axis(ds)
        without = [n for n, v in ds.data_vars.items() if time is not None and time not in v.dims]
        for name in without:
            static.setdefault(str(name), ds[name])
        return ds.drop_vars(without)

    combined = xr.open_mfdataset(
        files, combine="by_coords", preprocess=note, data_vars="minimal", coords="minimal", compat="override",
        join="exact", combine_attrs="override", chunks={},
    )  # fmt: skip
    return combined.assign({n: v for n, v in static.items() if n not in combined})


def _in_units_of_first(ds: xr.Dataset, first: dict[str, tuple[str | None, str]]) -> xr.Dataset:
    """A file's variables in the unit, noted in `first`, of the file that had them first; lazily."""
    file = Path(str(ds.encoding.get("source"))).name
    own = {str(name): variable.attrs.get("units") for name, variable in ds.data_vars.items()}
    changed = {}
    # files may have their first variables from different ones
    for other in dict.fromkeys(first[name][1] for name in own if name in first):
        wanted = {name: unit for name, (unit, where) in first.items() if where == other}
        for name, line in conversions(own, wanted, f"'{file}'", f"'{other}'").items():
            changed[name] = line(ds[name]).assign_attrs(ds[name].attrs | {"units": wanted[name]})
            changed[name].encoding = ds[name].encoding  # which names the grid mapping
    for name, unit in own.items():
        first.setdefault(name, (unit, file))
    return ds.assign(changed)


def _open_grib(path: str, options: StorageOptions) -> xr.Dataset:
    try:
        import cfgrib
    except (ImportError, RuntimeError) as error:
        raise FdsrError(f"source '{path}' is GRIB, which needs cfgrib and its eccodes: pip install cfgrib") from error
    parts = []
    for file in _local_files(path, options):
        # a file whose messages make no single hypercube comes in several pieces; no index file is left beside it
        parts += [_without_scalars(ds) for ds in cfgrib.open_datasets(file, backend_kwargs={"indexpath": ""})]
    return xr.merge(parts, compat="override", join="outer", combine_attrs="override")


def _without_scalars(ds: xr.Dataset) -> xr.Dataset:
    """Without the scalar coordinates (heightAboveGround, surface) in which the pieces of one file differ."""
    return ds.drop_vars([n for n, c in ds.coords.items() if c.ndim == 0])


def _local_files(path: str, options: StorageOptions) -> Sequence[str]:
    if is_remote(path):
        import fsspec

        protocol = path.split("://", 1)[0]
        return [
            fsspec.open_local(f"simplecache::{file}", **{protocol: dict(options)})
            for file in _remote_glob(path, options)
        ]
    return [path] if Path(path).exists() else sorted(glob(path))  # noqa: PTH207


def _remote_glob(path: str, options: StorageOptions) -> list[str]:
    if "*" not in path:
        return [path]
    import fsspec

    fs, pattern = fsspec.core.url_to_fs(path, **options)
    matches = [fs.unstrip_protocol(p) for p in sorted(fs.glob(pattern))]
    if not matches:
        raise FileNotFoundError(path)
    return matches


FORMATS: tuple[Format, ...] = (
    Format("NetCDF", (".nc", ".nc4", ".cdf", ".nc3", ".netcdf"), _open_netcdf),
    Format("GRIB", (".grib", ".grib2", ".grb", ".grb2", ".grib1"), _open_grib),
    Format("Zarr", ("",), _open_zarr),
)
