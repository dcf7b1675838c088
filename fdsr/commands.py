"""The plain verbs: prepare, report, export. Heavy imports wait until their arguments are understood."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from fdsr.errors import FdsrError


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing its whole usage."""

    def error(self, message: str) -> NoReturn:
        raise FdsrError(f"{self.prog.split()[-1]}: {message} (see 'fdsr {self.prog.split()[-1]} --help')")


def prepare(arguments: list[str]) -> None:
    """Make a pair store from a gridded source."""
    parser = _Parser(
        prog="fdsr prepare", description="Make a pair store of coarse and fine fields from a gridded source."
    )
    parser.add_argument("--source", required=True, help="Zarr store or NetCDF file with time, latitude and longitude")
    parser.add_argument("--target", required=True, help="pair store to write; must not exist")
    parser.add_argument("--variables", required=True, type=_names, help="fields to predict, for instance t2m,u10,v10")
    parser.add_argument("--factor", required=True, type=_factor, help="fine cells per coarse cell: N, or NLAT,NLON")
    parser.add_argument(
        "--static", default=[], type=_names, help="fields without time, for instance orography,land_fraction"
    )
    parser.add_argument("--split", default=None, type=_split,
                        help="train=…,val=…,test=…, each a number of snapshots, a fraction, or FIRST/LAST dates "
                             "(default train=0.7,val=0.1,test=0.15)")  # fmt: skip
    parser.add_argument("--gap", default=1, type=int, help="snapshots left out between blocks (default 1)")
    parser.add_argument("--transform", default=[], action="append", type=_transform,
                        help="NAME=FUNCTION[,LOWER], function none, log1p, sqrt or cbrt; for instance tp=cbrt,0; repeatable")  # fmt: skip
    parser.add_argument(
        "--interpolation",
        default="bicubic",
        choices=("bilinear", "bicubic"),
        help="what residuals are measured against",
    )
    parser.add_argument("--crop", default=None, type=_crop, help="LAT_MIN,LAT_MAX,LON_MIN,LON_MAX")
    options = parser.parse_args(arguments)

    from fdsr.data import PrepareConfig, ValueTransform
    from fdsr.data import prepare as write

    config = PrepareConfig(
        source=options.source,
        variables=options.variables,
        factor=options.factor,
        gap=options.gap,
        static=options.static,
        transforms={name: ValueTransform(function, lower=lower) for name, function, lower in options.transform},
        interpolation=options.interpolation,
        crop=options.crop,
        **({"split": options.split} if options.split else {}),
    )
    path = write(config, options.target)
    print(f"pair store: {path}")


def report(arguments: list[str]) -> None:
    """Print one table of several runs and draw their spectra."""
    parser = _Parser(
        prog="fdsr report", description="Compare finished runs: one table, and one figure of their spectra."
    )
    parser.add_argument("runs", nargs="+", help="directories of runs that 'fdsr test' has scored")
    parser.add_argument(
        "--output", default=None, help="folder for the joint table and figure (default: the last run's)"
    )
    options = parser.parse_args(arguments)

    from fdsr.report.compare import compare_runs

    compare_runs([Path(r) for r in options.runs], Path(options.output or options.runs[-1]))


def export(arguments: list[str]) -> None:
    """Turn a checkpoint into a small folder that loads without the run."""
    parser = _Parser(
        prog="fdsr export",
        description="Write a checkpoint's averaged weights, statistics and configuration to a folder.",
    )
    parser.add_argument("checkpoint")
    parser.add_argument("folder")
    options = parser.parse_args(arguments)

    from fdsr.modules import load_module, save_pretrained

    print(f"model: {save_pretrained(load_module(options.checkpoint), options.folder)}")


def _names(text: str) -> list[str]:
    return [n.strip() for n in text.split(",") if n.strip()]


def _factor(text: str) -> tuple[int, int]:
    parts = [int(p) for p in text.split(",")]
    if len(parts) not in (1, 2) or min(parts) < 1:
        raise argparse.ArgumentTypeError(f"factor '{text}' is neither N nor NLAT,NLON")
    return parts[0], parts[-1]


def _split(text: str) -> dict[str, object]:
    def value(part: str) -> object:
        if "/" in part:
            return part.split("/")
        return float(part) if "." in part else int(part)

    try:
        return {name: value(part) for name, part in (item.split("=") for item in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"split '{text}' is not like train=0.7,val=0.1,test=0.15") from error


def _transform(text: str) -> tuple[str, str, float | None]:
    name, _, rest = text.partition("=")
    function, _, lower = rest.partition(",")
    return name, function, float(lower) if lower else None


def _crop(text: str) -> tuple[float, ...]:
    parts = tuple(float(p) for p in text.split(","))
    if len(parts) != 4:
        raise argparse.ArgumentTypeError(f"crop '{text}' is not LAT_MIN,LAT_MAX,LON_MIN,LON_MAX")
    return parts
