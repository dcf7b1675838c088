"""A pair store that is whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import zarr

from fdsr.data.making.config import STORE_VERSION
from fdsr.errors import FdsrError


def open_finished(path: str, storage_options: Mapping[str, Any] | None = None) -> zarr.Group:
    """A pair store, to read. Raises FdsrError if it is missing, unfinished or of another version."""
    try:
        group = zarr.open_group(path, mode="r", storage_options=dict(storage_options) if storage_options else None)
    except (FileNotFoundError, zarr.errors.GroupNotFoundError) as error:
        raise FdsrError(f"pair store '{path}' does not exist; prepare it first, or give data.source") from error
    if (version := group.attrs.get("version")) != STORE_VERSION:
        raise FdsrError(
            f"'{path}' is not a finished pair store of version {STORE_VERSION} (found {version}); prepare it anew"
        )
    return group
