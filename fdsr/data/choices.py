"""What settings of data are chosen from, as types: `--help` lists them, and constructors refuse anything else."""

from __future__ import annotations

from typing import Any, Literal, get_args

from fdsr.errors import FdsrError

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Missing = Literal["error", "fill", "mask"]
Compression = Literal["lz4", "zstd", "none"]
ReaderName = Literal["auto", "direct", "tensorstore", "zarr"]
Flip = Literal["longitude", "latitude"]


def require_choice(value: object, choices: Any, what: str) -> None:
    """Raise FdsrError unless `value` is one of the Literal `choices` of `what`."""
    if value not in get_args(choices):
        raise FdsrError(f"{what} '{value}' is unknown; choose one of {', '.join(get_args(choices))}")
