"""Opening a source lazily, whatever its format and place."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from scipy.io import netcdf_file
from zarr.storage import ZipStore

from fdsr.data.making.sources.channels import Channel, require_variables, variables_of
from fdsr.data.making.sources.files import GRIB, NETCDF, STORE_DOCUMENTS, ZARR, ZIP, data_files, kind_of, local_places
from fdsr.data.making.sources.joining import Part, joined
from fdsr.data.making.sources.remote import first_line, is_remote, patiently, require_protocol
from fdsr.errors import FdsrError
from fdsr.grids.axes import normalise_axes
from fdsr.grids.finding import with_places
from fdsr.grids.grib import READ_KEYS
from fdsr.grids.times import DATED_AXIS, is_lead

log = logging.getLogger(__name__)

StorageOptions = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """What a user says of the axes of sources.

    axes: what an axis (time, lat, lon, y, x) is called; select: the value to take of an axis that is none of these.
    """

    axes: Mapping[str, str] = field(default_factory=dict)
    select: Mapping[str, Any] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)  # names of all sources seen so far

    def __post_init__(self) -> None:
        for name in self.axes:
            if name not in ("time", "lat", "lon", "y", "x"):
                raise FdsrError(f"axes: '{name}' is none of time, lat, lon, y, x")

    def of(self, ds: xr.Dataset, where: str) -> xr.Dataset:
        """`ds` at the selected values."""
        self.met.update(str(n) for n in (*ds.dims, *ds.coords))
        for name in (n for n in self.select if n in ds.dims or (n in ds.coords and ds[n].ndim == 0)):
            along = np.atleast_1d(ds[name].values)
            # lead times in hours
            values = (along / np.timedelta64(1, "h") if along.dtype.kind == "m" else along).tolist()
            if self.select[name] not in values:
                raise FdsrError(f"'{where}' has no {name} {self.select[name]}; it has {', '.join(map(str, values))}")
            if name in ds.dims:  # of a forecast the lead is still to be added to its begin
                ds = ds.isel({name: values.index(self.select[name])}, drop=not is_lead(ds, name))
        return ds

    def require_met(self) -> None:
        """Raise FdsrError for a name that no source has."""
        for option, names in (("axes", self.axes.values()), ("select", self.select)):
            for name in (n for n in names if n not in self.met):
                raise FdsrError(f"{option}: no source has '{name}'; they have {', '.join(sorted(self.met))}")


Source = str | xr.Dataset  # a place that sources are opened at, or one in memory


def open_source(
    path: Source,
    storage_options: StorageOptions | None = None,
    channels: Sequence[Channel] = (),
    view: View | None = None,
) -> xr.Dataset:
    """Open Zarr (format 2 or 3), NetCDF or GRIB lazily, one or several joined along time; axes are time, row, column.

    A path may be a file, a store, a folder of them, a pattern, or a ZIP archive; what a file is its content says. A dataset in
    memory, or one that is lazy itself, is taken as such a file. Rows are put north first and columns west to east. With
    `channels`, only what these need is opened. Raises FdsrError if the source is missing, unreachable or unreadable, lacks a
    variable, or an axis cannot be found.
    """
    view, where = view or View(), name_of(path)
    opened = [Part(where, path)] if isinstance(path, xr.Dataset) else _parts(path, storage_options or {})
    parts = [Part(part.label, with_places(part.data)) for part in opened]
    if channels:
        parts = _needed(parts, channels, where)
    parts = [
        Part(p.label, normalise_axes(_one_version(view.of(p.data, p.label), p.label), p.label, view.axes))
        for p in parts
    ]
    with _in_one_line(where, "joined"):
        return joined(parts, where)


def name_of(source: Source) -> str:
    """What a source is called in messages."""
    return "the dataset" if isinstance(source, xr.Dataset) else source


def _needed(parts: Sequence[Part], channels: Sequence[Channel], where: str) -> list[Part]:
    """The parts that hold a variable of a channel, with these variables alone and what says where they lie."""
    everything = xr.Dataset({n: ((), 0) for part in parts for n in part.data.data_vars})
    wanted = {name for channel in channels for name in variables_of(everything, channel)}
    require_variables(everything, [c.variable for c in channels if not variables_of(everything, c)], where)
    found = []
    for part in parts:
        own = [n for n in part.data.data_vars if n in wanted]
        mappings = [n for n, v in part.data.data_vars.items() if "grid_mapping_name" in v.attrs]
        if own:
            found.append(Part(part.label, part.data[[*own, *(n for n in mappings if n not in own)]]))
    taken = {part.file for part in found}
    if passed := list(dict.fromkeys(part.file for part in parts if part.file not in taken)):
        log.warning(
            "'%s': %d files hold none of the variables and are passed over, the first '%s'",
            where,
            len(passed),
            passed[0],
        )
    return found


def _one_version(ds: xr.Dataset, label: str) -> xr.Dataset:
    """`ds` without ERA5's axis `expver`: its final values where there are such, else the early ones (ERA5T)."""
    if ds.sizes.get("expver", 1) == 1 or "expver" not in ds.dims:
        return ds
    log.warning("'%s' holds several versions (expver): values of a later one fill the gaps of those before it", label)
    versions = [ds.chunk({}).isel(expver=i, drop=True) for i in range(ds.sizes["expver"])]
    return reduce(lambda first, later: first.fillna(later), versions)


def _parts(path: str, options: StorageOptions) -> list[Part]:
    if is_remote(path):
        require_protocol(path)
        return patiently(lambda: _remote_parts(path, options), path)
    places = local_places(path)
    if not places:
        raise FdsrError(f"source '{path}' does not exist; check the path (data.source or --source)")
    return [part for label, file in data_files(places, path) for part in _opened(label, file)]


def _remote_parts(path: str, options: StorageOptions) -> list[Part]:
    import fsspec

    fs, root = fsspec.core.url_to_fs(path, **options)
    matches = sorted(fs.glob(root)) if "*" in path else [root]
    if not matches:
        raise FileNotFoundError(path)
    urls = [fs.unstrip_protocol(match) if "*" in path else path for match in matches]
    files = [
        url for url in urls
        if ".zarr" not in url and not any(fs.exists(f"{url.rstrip('/')}/{name}") for name in STORE_DOCUMENTS)
    ]  # fmt: skip
    protocol = path.split("://", 1)[0]
    copies = {url: fsspec.open_local(f"simplecache::{url}", **{protocol: dict(options)}) for url in files}
    found = [Part(url, _open_zarr(url, dict(options))) for url in urls if url not in copies]
    for url, copy in copies.items():
        found += [part for label, file in data_files([copy], url) for part in _opened(label.replace(copy, url), file)]
    return found


def _opened(label: str, file: str) -> list[Part]:
    kind = kind_of(file)
    with _in_one_line(label, f"opened as {kind.name}"):
        return _OPEN[kind](label, file)


@contextmanager
def _in_one_line(label: str, what: str) -> Iterator[None]:
    try:
        yield
    except FdsrError:
        raise
    except Exception as error:
        reason = first_line(error)
        if counted := re.search("time units '(.*? since .*?)'", reason):  # months and years have no fixed length
            calendar = f" of the {named[0]}" if (named := re.search("calendar '.*?'", reason)) else ""
            reason = f"no dates can be told from '{counted[1]}'{calendar}; give the time axis hours or days since a date ({DATED_AXIS})"
        if "HDF error" in reason or "End of resource" in reason:
            reason = "it seems to be cut short; fetch it again"
        raise FdsrError(f"source '{label}' cannot be {what}: {reason}") from error


def _open_zarr(path: str | ZipStore, options: dict[str, Any] | None = None) -> xr.Dataset:
    """A store. What format 2 has in place of what is not written is no mark of missing values where it is 0 and no attribute."""

    def opened(**settings: Any) -> xr.Dataset:
        with warnings.catch_warnings():
            # stores without consolidated metadata are common and fine here
            warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated", RuntimeWarning)
            return xr.open_zarr(path, chunks=None, storage_options=options, **settings)

    ds = opened()
    # packed integers have their mark there
    zero = [
        str(n)
        for n, v in ds.variables.items()
        if v.encoding.get("_FillValue") == 0 and "scale_factor" not in v.encoding
    ]
    if zero:
        group = zarr.open_group(path, mode="r", storage_options=options)
        values = [name for name in zero if "_FillValue" not in group[name].attrs]
        ds = opened(mask_and_scale=dict.fromkeys(values, False))
        for name in values:
            ds[name].attrs.pop("_FillValue", None)
    return ds


def _open_netcdf(file: str) -> xr.Dataset:
    """The variables of a file, or of its one group that has any."""
    _require_whole(file)
    ds = xr.open_dataset(file)
    if ds.data_vars:
        return ds
    groups = {name: group for name, group in xr.open_groups(file).items() if group.data_vars}
    first = min(groups, key=lambda name: name.count("/"), default=None)
    return ds if first is None else groups[first]


def _require_whole(file: str) -> None:
    """Raise FdsrError for a file of NetCDF's classic formats that is cut short: its library makes zeros of what is not there."""
    with Path(file).open("rb") as opened:
        if opened.read(4) not in (b"CDF\x01", b"CDF\x02"):
            return
    try:
        netcdf_file(file, "r", mmap=True).close()
    except ValueError as error:  # a variable reaches beyond the end of the file
        raise FdsrError(
            f"source '{file}' cannot be opened as NetCDF: it seems to be cut short; fetch it again"
        ) from error


def _open_grib(label: str, file: str) -> list[Part]:
    """A file whose messages make no single hypercube comes in several parts. No index file is left beside it."""
    try:
        import cfgrib
    except (ImportError, RuntimeError) as error:
        raise FdsrError(f"source '{label}' is GRIB, which needs cfgrib and its eccodes: pip install cfgrib") from error
    # a message that cannot be read, as at the end of a file cut short, is not passed over
    parts = cfgrib.open_datasets(file, backend_kwargs={"indexpath": "", "errors": "raise", "read_keys": READ_KEYS})
    if len(parts) == 1:
        return [Part(label, parts[0])]
    return [Part(_messages(label, ds), _without_levels(ds)) for ds in parts]


def _messages(label: str, ds: xr.Dataset) -> str:
    kinds = {str(v.attrs.get(f"GRIB_{key}")) for key in ("typeOfLevel", "stepType") for v in ds.data_vars.values()}
    return f"{label} ({' '.join(sorted(kinds))})"


def _without_levels(ds: xr.Dataset) -> xr.Dataset:
    """Without the scalar coordinates (heightAboveGround, surface) in which the parts of one file differ."""
    return ds.drop_vars([n for n, c in ds.coords.items() if c.ndim == 0 and c.dtype.kind != "M"])


_OPEN: dict[Any, Callable[[str, str], list[Part]]] = {
    NETCDF: lambda label, file: [Part(label, _open_netcdf(file))],
    GRIB: _open_grib,
    ZARR: lambda label, file: [Part(label, _open_zarr(file))],
    ZIP: lambda label, file: [Part(label, _open_zarr(ZipStore(file, mode="r")))],
}
