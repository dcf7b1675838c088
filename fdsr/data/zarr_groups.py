"""Small services around Zarr groups."""

from __future__ import annotations

import warnings

import zarr
import zarr.errors

from fdsr.errors import FdsrError


def array_of(group: zarr.Group, name: str) -> zarr.Array:
    """The array `name` of `group`. Raises FdsrError if it is missing or a group."""
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise FdsrError(f"store '{group.store}' has no array '{name}'; prepare it anew")
    return array


def consolidate(path: str) -> None:
    """Write all metadata of a finished store into its root, which is what `xarray.open_zarr` looks for first."""
    with warnings.catch_warnings():
        # zarr-python warns that format 3 does not specify it yet; readers that do not know it fall back
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(path)
