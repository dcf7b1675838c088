"""Which channels a mirror reverses."""

from __future__ import annotations

import re

import pytest

from fdsr.data.serving.augment import mirror_signs, require_odd, reversed_components
from fdsr.data.values import CubeRoot, Identity, Log1p, SquareRoot, ValueTransform
from fdsr.errors import FdsrError

NAMES = {
    "t2m": "", "u10": "lon", "v10": "lat", "u": "lon", "v": "lat", "ua": "lon", "vas": "lat", "u_500": "lon", "v850": "lat",
    "10m_u_component_of_wind": "lon", "v_component_of_wind": "lat", "u10n": "lon", "tauu": "lon", "nsss": "lat",
    "x_wind": "lon", "vo": "both", "vo_850": "both", "tp": "", "msl": "", "d": "", "wind_speed": "", "uvb": "",
    "UWND": "lon", "UGRD": "lon", "vgrd": "lat", "uo": "lon", "ugos": "lon", "vvel": "lat",
    "vertical_velocity": "", "vertically_integrated_moisture_divergence": "", "tcwv": "", "vsw": "", "volumetric_soil_water": "",
}  # fmt: skip


@pytest.mark.parametrize(("name", "axes"), NAMES.items())
def test_by_name(name: str, axes: str) -> None:
    assert reversed_components([name], {}, "longitude").tolist() == [axes in ("lon", "both")]
    assert reversed_components([name], {}, "latitude").tolist() == [axes in ("lat", "both")]


@pytest.mark.parametrize(
    ("standard_name", "longitude", "latitude"),
    [
        ("eastward_wind", True, False),
        ("northward_wind", False, True),
        ("surface_downward_eastward_stress", True, False),
        ("atmosphere_relative_vorticity", True, True),
        ("divergence_of_wind", False, False),
        ("air_temperature", False, False),
    ],
)
def test_by_standard_name(standard_name: str, longitude: bool, latitude: bool) -> None:
    """It goes before the name, which here says nothing, or something else."""
    for name in ("var165", "u"):
        attributes = {name: {"standard_name": standard_name}}
        assert reversed_components([name], attributes, "longitude").tolist() == [longitude]
        assert reversed_components([name], attributes, "latitude").tolist() == [latitude]


def test_an_unknown_standard_name_says_nothing() -> None:
    """As ECMWF's files have it."""
    about = {"u10": {"standard_name": "unknown"}, "t2m": {"standard_name": "unknown"}}
    assert reversed_components(["u10", "t2m"], about, "longitude").tolist() == [True, False]


def test_vorticity_and_a_current_share_a_name() -> None:
    for unit, longitude in (("s**-1", True), ("", True), ("m s-1", False), ("m/s", False)):
        assert reversed_components(["vo"], {"vo": {"units": unit}}, "longitude").tolist() == [longitude]
        assert reversed_components(["vo"], {"vo": {"units": unit}}, "latitude").tolist() == [True]


def test_a_wind_that_nobody_knows_is_refused() -> None:
    for name, unit, known in (
        ("ff", "m s**-1", False), ("zonal", "m/s", False), ("curl", "s-1", False), ("ws10", "m s-1", True), ("w", "m s-1", True),
        ("prate", "mm h-1", True), ("u10", "m s-1", True), ("t2m", "K", True), ("zonal", "", True),
    ):  # fmt: skip
        about = {name: {"units": unit}}
        require_odd([name], about, [Identity()], [])
        if known:
            require_odd([name], about, [Identity()], ["longitude"])
        else:
            with pytest.raises(
                FdsrError, match=rf"'{name}' \({re.escape(unit)}\) is not known; prepare it under a usual name"
            ):
                require_odd([name], about, [Identity()], ["longitude"])


def test_signs() -> None:
    names = ["t2m", "u10", "v10", "vo"]
    for rows, columns, expected in (
        (False, False, [1, 1, 1, 1]),
        (False, True, [1, -1, 1, -1]),
        (True, False, [1, 1, -1, -1]),
        (True, True, [1, -1, -1, 1]),  # a turn by 180°: rotation stays
    ):
        assert mirror_signs(names, {}, rows, columns).ravel().tolist() == expected


@pytest.mark.parametrize("transform", [Log1p(), SquareRoot(), CubeRoot(lower=0.0)])
def test_a_component_without_negative_values_is_not_flipped(transform: ValueTransform) -> None:
    names = ["t2m", "u10"]
    with pytest.raises(FdsrError, match=r"longitude changes the sign of 'u10'.*; take longitude out") as caught:
        require_odd(names, {}, [Identity(), transform], ("longitude",))
    assert "\n" not in str(caught.value)
    # what keeps its sign may have any transform, and an odd transform any sign
    require_odd(names, {}, [transform, CubeRoot()], ("longitude", "latitude"))
    require_odd(names, {}, [Identity(), transform], ("latitude",))
