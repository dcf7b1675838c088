"""`fdsr prepare`: a pair store from any gridded archive; adding to one, and looking through one.

Defaults stand in PrepareConfig and Layout alone: an option that is not given is not there.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import Any

from fdsr.commands.options import Parser, key_value, names, positive, sides

DESCRIPTION = """Make a pair store of coarse and fine fields from any gridded archive. An interrupted preparation goes on
where it stopped when the same command is given again."""


def main(arguments: list[str]) -> None:
    """Check, append or prepare, as `arguments` say."""
    parser = Parser("prepare", DESCRIPTION, argument_default=argparse.SUPPRESS)
    add_options(parser)
    options = vars(parser.parse_args(_joined(arguments)))
    if "check" in options:
        from fdsr.data.making.checking import check_store

        print(check_store(options["check"]))
        return
    append = options.pop("append", False)
    missing = [f"--{name}" for name in (("source", "target") if append else NEEDED) if name not in options]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    if "storage_options" in options:
        options["storage_options"] = _nested(options["storage_options"])
    for repeated in ("transforms", "select", "thresholds"):
        if repeated in options:
            options[repeated] = dict(options[repeated])
    (_append if append else _prepare)(options.pop("target"), options)


def _joined(arguments: list[str]) -> list[str]:
    """Arguments with the corners of a crop written to their option: -60,0,… is no option of its own."""
    out: list[str] = []
    for argument in arguments:
        if out and out[-1] in ("--crop", "--region"):
            out[-1] += f"={argument}"
        else:
            out.append(argument)
    return out


NEEDED = ("source", "target", "variables", "factor")
_EXECUTION = ("scheduler", "threads", "steps_per_block")


def _prepare(target: str, options: dict[str, Any]) -> None:
    from fdsr.data.making.config import PrepareConfig
    from fdsr.data.making.prepare import prepare
    from fdsr.data.making.writing import Layout

    execution, layout = _taken(options, _EXECUTION), Layout(**_taken(options, ("compression", "shard")))
    print(f"pair store: {prepare(PrepareConfig(**options), target, layout=layout, **execution)}")


def _append(target: str, options: dict[str, Any]) -> None:
    from fdsr.data.making.append import append

    added = append(target, options.pop("source"), **_taken(options, _EXECUTION), **options)
    print(f"pair store: {target} ({added} times added; statistics, splits and fingerprint are as before)")


def _taken(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Those of `options` that are called so, out of the rest."""
    return {name: options.pop(name) for name in names if name in options}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to `parser`, under the names of PrepareConfig's arguments where they are these."""
    what = parser.add_argument_group("what to read")
    what.add_argument("--source", help="Zarr (format 2 or 3), NetCDF, HDF5 or GRIB, told by its content: a file or "
                                       "store, a folder of them, a quoted glob, or s3://, gs://, https://")  # fmt: skip
    what.add_argument("--low-source", help="an independent coarse archive, paired with --source by time")
    what.add_argument("--storage-option", action="append", type=key_value, dest="storage_options", metavar="KEY=VALUE",
                      help="what fsspec needs for a URL, for instance anon=true or client_kwargs.endpoint_url=…; repeatable")  # fmt: skip
    what.add_argument("--variables", type=names,
                      help="fields to predict: t2m,u10; levels as z@500/850; renamed as t2m=2m_temperature")  # fmt: skip
    what.add_argument("--low-variables", type=names, help="fields of --low-source (default: as --variables)")
    what.add_argument("--static", type=names, help="fields without time, such as orography,land_fraction")
    what.add_argument("--static-source", help="another store that holds them, regridded if need be")
    what.add_argument("--crop", "--region", dest="crop", type=crop, metavar="LAT_MIN,LAT_MAX,LON_MIN,LON_MAX",
                      help="part of the grid, in degrees (y and x of a projected grid); may cross the date line")  # fmt: skip
    what.add_argument("--time-range", metavar="FIRST/LAST",
                      help="for instance 1990-01-01/2015-12-31; each date is the whole of what it names: 2020/2020 is that year, "
                           "2021-03/2021-03 the month, 2021-03-31 has all its hours")  # fmt: skip
    what.add_argument("--axes", type=renamed, metavar="AXIS=NAME,…",
                      help="what axes are called that are not found: time=TIME,lat=FNOCY,lon=FNOCX (y, x of a projected grid)")  # fmt: skip
    what.add_argument("--select", action="append", type=key_value, metavar="AXIS=VALUE",
                      help="the value to take of an axis that is none of time, level and place: number=0; repeatable")  # fmt: skip
    what.add_argument("--missing", choices=("error", "fill", "mask"),
                      help="missing values: an error (default), filled with the nearest value of the same field, or kept "
                           "missing and left out of training and scores")  # fmt: skip

    what.add_argument("--units", type=renamed, metavar="NAME=UNIT,…",
                      help="read a variable in another unit than its archive's: pr='mm h-1' (of water: 1 kg m-2 is 1 mm)")  # fmt: skip
    what.add_argument("--sha256", metavar="SUM", help="checksum that the file --source must have")
    what.add_argument("--origin", help="where that file is to be had, said when it is another")

    pairs = parser.add_argument_group("the pairs")
    pairs.add_argument("--target", help="pair store to write; must not exist, except with --append")
    pairs.add_argument("--factor", type=sides, metavar="N|NLAT,NLON", help="fine cells per coarse cell")
    pairs.add_argument("--trim", action="store_true",
                       help="cut the last rows and columns that make no whole coarse cell, instead of refusing them")  # fmt: skip
    pairs.add_argument("--split", type=split,
                       help="train=…,val=…,test=…, each a number of snapshots, a fraction, dates FIRST/LAST "
                            "as of --time-range, or a region lon:WEST/EAST or lat:SOUTH/NORTH "
                            "(default train=0.7,val=0.1,test=0.15)")  # fmt: skip
    pairs.add_argument(
        "--gap",
        type=int,
        help="snapshots left out between blocks (default 1; none between blocks of dates), or coarse cells between regions (2)",
    )
    pairs.add_argument("--transform", action="append", type=transform, dest="transforms",
                       metavar="NAME=FUNCTION[,LOWER][,SETTING=VALUE]",
                       help="function none, log1p, sqrt, cbrt or, for rain, zero_inflated: tp=cbrt,0 or tp=log1p,scale=1e-4,lower=0 or "
                            "rain=zero_inflated,threshold=0.05; or the import path of a class of your own; repeatable")  # fmt: skip
    pairs.add_argument("--thresholds", action="append", type=thresholds, metavar="NAME=T[,T…]",
                       help="of the events that a variable is scored by (FSS, Brier): rain=0.1,1,5, in its unit; repeatable (default: "
                            "what its attribute `thresholds` says)")  # fmt: skip
    pairs.add_argument("--interpolation", choices=("nearest", "bilinear", "bicubic"),
                       help="what residuals are measured against (default bicubic)")  # fmt: skip

    how = parser.add_argument_group("how")
    how.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster (tcp://host:8786) instead of threads")
    how.add_argument("--threads", type=positive, help="threads (default: one a core); each holds one block in memory")
    how.add_argument("--steps-per-block", type=positive, help="time steps read at once (default: what fits in 32 MiB)")
    how.add_argument("--compression", choices=("lz4", "zstd", "none"),
                     help="lz4 reads fastest (default), zstd is smaller, none is for whole fields at disk speed")  # fmt: skip
    how.add_argument("--shard", type=positive, metavar="STEPS",
                     help="time steps a file (default 1: best on a disk); more for an object store, 64 to 256 MB a file")  # fmt: skip
    how.add_argument("--append", action="store_true", help="add the later times of --source to a finished --target")
    how.add_argument("--check", metavar="STORE", help="read a finished pair store through and describe it, no more")


def split(text: str) -> dict[str, object]:
    """train=…,val=…,test=…"""

    def value(part: str) -> object:
        for number in (int, float):
            with suppress(ValueError):
                return number(part)
        return part

    try:
        blocks = [(name.strip(), value(part.strip())) for name, part in (item.split("=") for item in text.split(","))]
        if len({name for name, _ in blocks}) < len(blocks):
            raise ValueError(text)
        return dict(blocks)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"split '{text}' is not like train=0.7,val=0.1,test=0.15 or train=1990/2014,test=2016/2018"
        ) from error


def transform(text: str) -> tuple[str, dict[str, object]]:
    """NAME=FUNCTION, and settings: SETTING=VALUE, or a lower bound alone."""
    variable, equals, rest = text.partition("=")
    function, *settings = rest.split(",")
    if not variable or not equals or not function:
        raise argparse.ArgumentTypeError(f"transform '{text}' is not NAME=FUNCTION[,LOWER][,SETTING=VALUE]")
    pairs = (key_value(s if "=" in s else f"lower={s}") for s in settings if s)
    return variable, {"name": function, **dict(pairs)}


def thresholds(text: str) -> tuple[str, list[float]]:
    """NAME=T,T"""
    name, _, values = text.partition("=")
    try:
        return name, [float(value) for value in values.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"thresholds '{text}' are not NAME=T[,T…], numbers in the unit of NAME"
        ) from error


def renamed(text: str) -> dict[str, str]:
    """AXIS=NAME between commas."""
    return {axis: str(name) for axis, name in (key_value(part) for part in names(text))}


def crop(text: str) -> tuple[float, ...]:
    """LAT_MIN,LAT_MAX,LON_MIN,LON_MAX"""
    try:
        parts = tuple(float(p) for p in text.split(","))
    except ValueError:
        parts = ()
    if len(parts) != 4:
        raise argparse.ArgumentTypeError(f"crop '{text}' is not LAT_MIN,LAT_MAX,LON_MIN,LON_MAX")
    return parts


def _nested(pairs: list[tuple[str, object]]) -> dict[str, Any]:
    """Options of options by the dots in their keys."""
    out: dict[str, Any] = {}
    for key, value in pairs:
        *outer, last = key.split(".")
        place = out
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return out
