"""The options of `fdsr prepare`, and what they start. Heavy imports wait until the options are understood."""

from __future__ import annotations

import argparse
import json
from typing import Any

DESCRIPTION = """Make a pair store of coarse and fine fields from any gridded archive. An interrupted preparation goes on
where it stopped when the same command is given again."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to `parser`."""
    what = parser.add_argument_group("what to read")
    what.add_argument("--source", help="Zarr (format 2 or 3), NetCDF (a file or a quoted glob) or GRIB; a path, "
                                       "or s3://, gs://, https://")  # fmt: skip
    what.add_argument("--low-source", help="an independent coarse archive, paired with --source by time")
    what.add_argument("--storage-option", default=[], action="append", type=storage_option, metavar="KEY=VALUE",
                      help="what fsspec needs for a URL, for instance anon=true or client_kwargs.endpoint_url=…; repeatable")  # fmt: skip
    what.add_argument("--variables", type=names,
                      help="fields to predict: t2m,u10; levels as z@500/850; renamed as t2m=2m_temperature")  # fmt: skip
    what.add_argument(
        "--low-variables", default=[], type=names, help="fields of --low-source (default: as --variables)"
    )
    what.add_argument("--static", default=[], type=names, help="fields without time, such as orography,land_fraction")
    what.add_argument("--static-source", help="another store that holds them, regridded if need be")
    what.add_argument("--crop", "--region", dest="crop", type=crop, metavar="LAT_MIN,LAT_MAX,LON_MIN,LON_MAX",
                      help="part of the grid, in degrees (y and x of a projected grid); may cross the date line")  # fmt: skip
    what.add_argument("--time-range", type=time_range, metavar="FIRST/LAST", help="for instance 1990-01-01/2015-12-31")
    what.add_argument("--missing", default=None, choices=("error", "fill", "mask"),
                      help="missing values: an error (default), filled with the nearest value of the same field, or kept "
                           "missing and left out of training and scores")  # fmt: skip

    pairs = parser.add_argument_group("the pairs")
    pairs.add_argument("--target", help="pair store to write; must not exist, except with --append")
    pairs.add_argument("--factor", type=factor, help="fine cells per coarse cell: N, or NLAT,NLON")
    pairs.add_argument("--split", default=None, type=split,
                       help="train=…,val=…,test=…, each a number of snapshots, a fraction, or FIRST/LAST dates "
                            "(default train=0.7,val=0.1,test=0.15)")  # fmt: skip
    pairs.add_argument("--gap", default=1, type=int, help="snapshots left out between blocks (default 1)")
    pairs.add_argument("--transform", default=[], action="append", type=transform,
                       help="NAME=FUNCTION[,LOWER], function none, log1p, sqrt or cbrt; for instance tp=cbrt,0; repeatable")  # fmt: skip
    pairs.add_argument("--interpolation", default="bicubic", choices=("bilinear", "bicubic"),
                       help="what residuals are measured against")  # fmt: skip

    how = parser.add_argument_group("how")
    how.add_argument(
        "--scheduler", metavar="ADDRESS", help="an existing Dask cluster (tcp://host:8786) instead of threads"
    )
    how.add_argument("--threads", type=positive, help="threads (default: one a core); each holds one block in memory")
    how.add_argument("--steps-per-block", type=positive, help="time steps read at once (default: what fits in 32 MiB)")
    how.add_argument("--compression", default="lz4", choices=("lz4", "zstd", "none"),
                     help="lz4 reads fastest (default), zstd is smaller, none is for whole fields at disk speed")  # fmt: skip
    how.add_argument("--shard", default=1, type=positive, metavar="STEPS",
                     help="time steps a file (default 1: best on a disk); more for an object store, 64 to 256 MB a file")  # fmt: skip
    how.add_argument("--append", action="store_true", help="add the later times of --source to a finished --target")
    how.add_argument(
        "--check", metavar="STORE", help="read a finished pair store through and describe it; nothing else"
    )


def run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Check, append or prepare, as the options say."""
    if options.check:
        from fdsr.data.making.checking import check_store

        print(check_store(options.check))
        return
    needed = ("source", "target") if options.append else ("source", "target", "variables", "factor")
    missing = [f"--{name}" for name in needed if getattr(options, name) is None]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    storage: dict[str, Any] = {}
    for keys, value in options.storage_option:
        place = storage
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
    execution = {"scheduler": options.scheduler, "threads": options.threads, "steps_per_block": options.steps_per_block}
    (_append if options.append else _prepare)(options, storage, execution)


def _prepare(options: argparse.Namespace, storage: dict[str, Any], execution: dict[str, Any]) -> None:
    from fdsr.data import PrepareConfig, ValueTransform, prepare
    from fdsr.data.making.config import DEFAULT_SPLIT
    from fdsr.data.making.writing import Layout

    config = PrepareConfig(
        source=options.source,
        variables=options.variables,
        factor=options.factor,
        gap=options.gap,
        static=options.static,
        transforms={name: ValueTransform(function, lower=lower) for name, function, lower in options.transform},
        interpolation=options.interpolation,
        crop=options.crop,
        time_range=options.time_range,
        static_source=options.static_source,
        low_source=options.low_source,
        low_variables=options.low_variables,
        missing=options.missing or "error",
        storage_options=storage,
        split=options.split or DEFAULT_SPLIT,
    )
    layout = Layout(options.compression, options.shard)
    print(f"pair store: {prepare(config, options.target, layout=layout, **execution)}")


def _append(options: argparse.Namespace, storage: dict[str, Any], execution: dict[str, Any]) -> None:
    from fdsr.data.making.append import append

    added = append(
        options.target, options.source, low_source=options.low_source, time_range=options.time_range,
        missing=options.missing, storage_options=storage,
        expected={"variables": options.variables, "factor": options.factor and list(options.factor)}, **execution,
    )  # fmt: skip
    print(f"pair store: {options.target} ({added} times added; statistics, splits and fingerprint are as before)")


def names(text: str) -> list[str]:
    return [n.strip() for n in text.split(",") if n.strip()]


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def factor(text: str) -> tuple[int, int]:
    parts = [int(p) for p in text.split(",")]
    if len(parts) not in (1, 2) or min(parts) < 1:
        raise argparse.ArgumentTypeError(f"factor '{text}' is neither N nor NLAT,NLON")
    return parts[0], parts[-1]


def split(text: str) -> dict[str, object]:
    def value(part: str) -> object:
        if "/" in part:
            return part.split("/")
        return float(part) if "." in part else int(part)

    try:
        return {name: value(part) for name, part in (item.split("=") for item in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"split '{text}' is not like train=0.7,val=0.1,test=0.15") from error


def transform(text: str) -> tuple[str, str, float | None]:
    name, _, rest = text.partition("=")
    function, _, lower = rest.partition(",")
    return name, function, float(lower) if lower else None


def crop(text: str) -> tuple[float, ...]:
    parts = tuple(float(p) for p in text.split(","))
    if len(parts) != 4:
        raise argparse.ArgumentTypeError(f"crop '{text}' is not LAT_MIN,LAT_MAX,LON_MIN,LON_MAX")
    return parts


def time_range(text: str) -> tuple[str, str]:
    first, slash, last = text.partition("/")
    if not slash or not first or not last:
        raise argparse.ArgumentTypeError(f"time range '{text}' is not FIRST/LAST, for instance 1990-01-01/2015-12-31")
    return first, last


def storage_option(text: str) -> tuple[list[str], object]:
    """KEY=VALUE; dots in the key open inner options, values are read as JSON where they are JSON."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"storage option '{text}' is not KEY=VALUE")
    try:
        return key.split("."), json.loads(value)
    except json.JSONDecodeError:
        return key.split("."), value
