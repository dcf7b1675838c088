"""Mirroring fields: what else changes when rows or columns are reversed.

A mirrored field is not a flow that the rotating Earth has (its cyclones turn the wrong way), but it has the right small
scales under its large ones, which is what downscaling learns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fdsr.data.choices import Flip, require_choice
from fdsr.data.values import ValueTransform
from fdsr.errors import FdsrError

# A vector's component along an axis changes sign when the axis is reversed; a rotation changes it in either mirror.
_EASTWARD = re.compile(r"eastward|(^|_)x_wind|(^|_)u_component|^(ewss|tauu)$|^u(a|as)?_?\d*(m|n|hpa)?$")
_NORTHWARD = re.compile(r"northward|(^|_)y_wind|(^|_)v_component|^(nsss|tauv)$|^v(a|as)?_?\d*(m|n|hpa)?$")
_ROTATION = re.compile(r"vorticity|^(vo|pv)_?\d*$")


Attributes = Mapping[str, Mapping[str, str]]  # of each variable


def reversed_components(names: Sequence[str], attributes: Attributes, axis: str) -> NDArray[np.bool_]:
    """Which channels change sign when `axis` (longitude or latitude) is reversed: (C,).

    A channel is known by its CF standard_name where it has one, else by its name: u10, 10m_u_component_of_wind, ua, vas,
    u_500 …; relative vorticity (vo) changes sign with either axis.
    """
    component = {"longitude": _EASTWARD, "latitude": _NORTHWARD}[axis]
    known = [attributes.get(n, {}).get("standard_name", "").lower() or n.lower() for n in names]
    return np.array([bool(component.search(k) or _ROTATION.search(k)) for k in known], dtype=bool)


def mirror_signs(names: Sequence[str], attributes: Attributes, rows: bool, columns: bool) -> NDArray[np.float32]:
    """The factor ±1 of each channel (C, 1, 1) when rows (latitude) or columns (longitude) are reversed, or both."""
    reversed_ = np.zeros(len(names), dtype=bool)
    for axis, flipped in (("latitude", rows), ("longitude", columns)):
        if flipped:
            reversed_ ^= reversed_components(names, attributes, axis)
    return np.where(reversed_, -1, 1).astype(np.float32)[:, None, None]


def require_odd(
    names: Sequence[str], attributes: Attributes, transforms: Sequence[ValueTransform], flips: Sequence[str]
) -> None:
    """Raise FdsrError if a flip would change the sign of a channel whose transform or lower bound knows no such values."""
    for axis in require_flips(flips):
        changed = reversed_components(names, attributes, axis)
        for name, changes, transform in zip(names, changed, transforms, strict=True):
            if changes and not transform.signed:
                raise FdsrError(
                    f"data.flips: {axis} changes the sign of '{name}', which its transform ({transform.name}, lower bound "
                    f"{transform.lower}) does not allow; take {axis} out, or prepare '{name}' with none or cbrt"
                )


def require_flips(flips: Sequence[str]) -> tuple[str, ...]:
    """The axes to flip, checked. Raises FdsrError for an unknown one."""
    for axis in flips:
        require_choice(axis, Flip, "data.flips:")
    return tuple(flips)
