"""One comparison of the units in which two sources give the same field."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

from fdsr.errors import FdsrError

log = logging.getLogger(__name__)

_UNKNOWN = ("", "none", "unknown", "~", "-", "?")
# what archives write that the registry takes for something else (mb: millibarns), or not at all
_SPELLINGS = {
    "mb": "hPa", "hpa": "hPa", "pa": "Pa", "proportion": "1", "(0 - 1)": "1", "0-1": "1", "fraction": "1", "unitless": "1",
    "numeric": "1", "deg c": "degC", "deg k": "K", "degrees c": "degC", "degrees_c": "degC", "degree_c": "degC",
    "m of water equivalent": "m", "m of water": "m",
}  # fmt: skip


@dataclass(frozen=True)
class Conversion:
    """The straight line from values in one unit to those in another: scale · x + offset."""

    scale: float
    offset: float

    def __call__(self, values: Any) -> Any:
        """`values`, of NumPy, torch or xarray, in the other unit; their dtype stays."""
        return values * self.scale + self.offset


SAME = Conversion(1.0, 0.0)


def conversion(given: str, wanted: str) -> Conversion | None:
    """From values in `given` to values in `wanted`: SAME for spellings of one unit, None if the two measure different things.

    Spellings are those of UDUNITS and CF (m s-1, m s**-1, m/s; degC, celsius), read by the registry of cf-xarray. A unit that
    it does not know is convertible to itself alone. A mass of water on an area is a depth: 1 kg m-2 is 1 mm, 1 kg m-2 s-1 is 3600 mm h-1.
    """
    first, second = _plain(given), _plain(wanted)
    return SAME if first == second else _line(first, second)


def conversions(
    given: Mapping[str, str | None], wanted: Mapping[str, str | None], where: str, other: str
) -> dict[str, Conversion]:
    """What turns the fields at `where` into the units of those at `other`: name → conversion, without those that need none.

    Says in one line which are converted, and in another which have no unit on one side and are taken as they are. Raises
    FdsrError at the first whose units measure different things.
    """
    found, unknown = {}, []
    for name in (n for n in given if n in wanted):
        first, second = (None if _missing(unit) else str(unit) for unit in (given[name], wanted[name]))
        if first is None or second is None:
            # no unit at all is what CF means by 1
            if _plain(first or second or "1") != "1":
                unknown.append(name)
            continue
        line = conversion(first, second)
        if line is None:
            raise FdsrError(
                f"{name} is in '{first}' in {where} and in '{second}' in {other}: mixed units, and neither can be converted to "
                "the other; correct the attribute units, or give one of them a name of its own"
            )
        if line != SAME:
            found[name] = line
    if found:
        said = ", ".join(f"{name} ({given[name]} to {wanted[name]})" for name in found)
        log.warning("%s: converted to the units of %s: %s", where, other, said)
    if unknown:
        log.warning("%s or %s has no units for %s; both are taken to have the same", where, other, ", ".join(unknown))
    return found


def _missing(unit: Any) -> bool:
    """Whether an attribute is no unit: also a list, which a channel taken out of a pair store's array still has."""
    return unit is None or isinstance(unit, list | tuple) or str(unit).strip().lower() in _UNKNOWN


def _plain(unit: str) -> str:
    text = " ".join(unit.split())
    text = text[1:-1] if re.fullmatch(r"\[[^\[\]]*\]", text) else text  # GDAL's [K]
    text = _SPELLINGS.get(text.lower(), text)
    return re.sub(r"(?<=[A-Za-z0-9])[.·](?=[A-Za-z])", " ", text)  # kg.m-2.s-1


@lru_cache
def _line(given: str, wanted: str) -> Conversion | None:
    import numpy as np
    from cf_xarray.units import units as registry  # slow to import, and seldom needed

    def readings(text: str) -> list[Any]:
        """What a text may mean: as it is written; in small letters where that is nothing, or all are capitals (M/S)."""
        found: list[Any] = []
        for spelling in (text, text.lower()):
            if not found or (text.isupper() and len(text) > 1):
                with suppress(Exception):  # of a text that is no unit the parser raises whatever it stumbles on
                    found.append(registry.parse_units(spelling))
        return found

    def alike(a: Any, b: Any) -> bool:
        return bool(a.dimensionality == b.dimensionality)

    on_area = registry.parse_units("kg m-2")

    def water(unit: Any) -> Any:
        """A mass on an area, or a flux of it, as a depth of water, or a rate; other units as they are."""
        masses = (on_area, on_area / registry.second)
        return unit * registry.parse_units("L/kg") if any(alike(unit, mass) for mass in masses) else unit

    found = [p for p in product(readings(given), readings(wanted)) if alike(*p)]
    found += [p for p in product(*([water(u) for u in readings(text)] for text in (given, wanted))) if alike(*p)]
    if not found:
        return None
    first, last = registry.Quantity(np.array([0.0, 1.0]), found[0][0]).to(found[0][1]).magnitude.tolist()
    # without the rounding of one subtraction
    return Conversion(float(f"{last - first:.12g}"), float(f"{first:.12g}"))
