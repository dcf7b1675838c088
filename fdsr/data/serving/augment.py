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
from fdsr.units import SAME, conversion

# A vector's component along an axis changes sign when the axis is reversed; a rotation changes it in either mirror.
_EASTWARD = re.compile(
    r"eastward|(^|_)x_wind|(^|_)u_component|^(ewss|tauu|utau|tauuo)$|^u(a|as|o|wnd|grd|gos|vel|sur)?_?\d*(m|n|hpa)?$"
)
_NORTHWARD = re.compile(
    r"northward|(^|_)y_wind|(^|_)v_component|^(nsss|tauv|vtau|tauvo)$|^v(a|as|o|wnd|grd|gos|vel|sur)?_?\d*(m|n|hpa)?$"
)
_ROTATION = re.compile(r"vorticity|^(vo|pv|svo|relv|absv|rv)_?\d*$")
# what is measured in the units of these, and is no component along an axis
_OTHERS = re.compile(
    r"speed|gust|magnitude|upward|downward|vertical|divergence|frequency|rate|precip|rain|snow|evap|"
    r"^(ws|wspd|sfcwind|si|fg|i10fg|w|wa|d|div|brn)_?\d*(m|n|hpa)?$"
)
_UNITS = ("m s-1", "s-1", "N m-2")  # of winds and currents, of their rotation, of their stress


Attributes = Mapping[str, Mapping[str, str]]  # of each variable


def reversed_components(names: Sequence[str], attributes: Attributes, axis: str) -> NDArray[np.bool_]:
    """Which channels change sign when `axis` (longitude or latitude) is reversed: (C,).

    A channel is known by its CF standard_name where it has one, else by its name: u10, 10m_u_component_of_wind, ua, vas,
    u_500 …; relative vorticity (vo) changes sign with either axis.
    """
    component = {"longitude": _EASTWARD, "latitude": _NORTHWARD}[axis]
    return np.array([bool(component.search(k) or _ROTATION.search(k)) for k in _known(names, attributes)], dtype=bool)


def _known(names: Sequence[str], attributes: Attributes) -> list[str]:
    """What each channel goes by: its standard name, or its name; `vo` is a current where its unit is one of those."""
    out = []
    for name in names:
        about = attributes.get(name, {})
        standard = about.get("standard_name", "").lower()
        text = name.lower() if standard in ("", "unknown", "undefined") else standard
        current = re.fullmatch(r"vo_?\d*", text) and conversion(about.get("units", ""), "m s-1") is not None
        out.append(text.replace("vo", "v") if current else text)
    return out


def _require_known(names: Sequence[str], attributes: Attributes) -> None:
    """Raise FdsrError for a channel in the units of a wind of which nothing says whether it is a component."""
    patterns = (_EASTWARD, _NORTHWARD, _ROTATION, _OTHERS)
    for name, text in zip(names, _known(names, attributes), strict=True):
        unit = attributes.get(name, {}).get("units", "")
        if not any(p.search(text) for p in patterns) and any(conversion(unit, other) == SAME for other in _UNITS):
            raise FdsrError(
                f"data.flips: whether a mirror changes the sign of '{name}' ({unit}) is not known; prepare it under a usual name "
                "(u=…, v=…, wind_speed=…) or give it a standard_name, or set data.flips to []"
            )


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
    """Raise FdsrError if a flip would change the sign of a channel whose transform or lower bound knows no such values.

    Also where it is not known whether it would.
    """
    if flips:
        _require_known(names, attributes)
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
