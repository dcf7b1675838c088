"""Typed access to the arrays of a Zarr group."""

from __future__ import annotations

import zarr

from fdsr.errors import FdsrError


def array_of(group: zarr.Group, name: str) -> zarr.Array:
    """The array `name` of `group`. Raises FdsrError if it is missing or a group."""
    found = group.get(name)
    if not isinstance(found, zarr.Array):
        raise FdsrError(f"store '{group.store}' has no array '{name}'; prepare it anew")
    return found
