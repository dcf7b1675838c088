"""What axes are called, and in what units they come."""

from __future__ import annotations

from dataclasses import dataclass

DEGREES = "degrees"
KILOMETRES = {"km": 1.0, "m": 1e-3}  # in a unit of length that axes come in

_SPELLINGS = {
    DEGREES: ("degree", "degrees", "degree_north", "degrees_north", "degree_n", "degrees_n", "degreen", "degreesn",
              "degree_east", "degrees_east", "degree_e", "degrees_e", "degreee", "degreese"),
    "m": ("m", "metre", "meter", "metres", "meters"),
    "km": ("km", "kilometre", "kilometer", "kilometres", "kilometers"),
}  # fmt: skip
_UNITS = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}


def axis_unit(text: str) -> str | None:
    """The unit of an axis, degrees, m or km, that `text` spells; None if it is another, or empty."""
    return _UNITS.get(text.strip().lower())


def axis_names(projected: bool) -> tuple[str, str]:
    """What rows and columns are called in the files that fdsr writes."""
    return ("y", "x") if projected else ("lat", "lon")


@dataclass(frozen=True)
class Axis:
    """How an axis may be known: by its role in CF, by standard names, by usual names in lower case, by an option."""

    title: str
    role: str  # of cf-xarray's coordinates
    standard_names: tuple[str, ...]
    usual: tuple[str, ...]
    option: str = ""  # its key in the option `axes`
    of_cells: tuple[str, ...] = ()  # usual names where it is no axis, but says where cells are


TIME = Axis("time", "time", ("time",), ("time", "valid_time", "time_index", "forecast_time", "date", "t"), "time")
LEAD = Axis(
    "lead", "", ("forecast_period",),
    ("step", "lead", "lead_time", "leadtime", "forecast_period", "forecast_hour", "prediction_timedelta"),
)  # fmt: skip
MEMBER = Axis(
    "member", "", ("realization",),
    ("member", "number", "realization", "realisation", "ensemble", "ensemble_member", "member_id", "ens"),
)  # fmt: skip
LATITUDE = Axis(
    "latitude",
    "latitude",
    ("latitude",),
    ("lat", "latitude", "nav_lat", "rlat"),
    "lat",
    ("xlat", "clat", "tlat", "geolat"),
)
LONGITUDE = Axis(
    "longitude", "longitude", ("longitude",), ("lon", "longitude", "nav_lon", "rlon"), "lon",
    ("xlong", "clon", "tlong", "geolon"),
)  # fmt: skip
Y = Axis("y", "Y", ("projection_y_coordinate", "grid_latitude"), ("y", "rlat", "yc", "south_north", "nj", "j"), "y")
X = Axis("x", "X", ("projection_x_coordinate", "grid_longitude"), ("x", "rlon", "xc", "west_east", "ni", "i"), "x")
