"""Units are compared by what they mean: spellings are one, convertible ones have a line, others none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdsr.units import SAME, Conversion, conversion, conversions

SPELLINGS = (
    ("m s-1", "m s**-1", "m/s", "m.s-1", "m s^-1", " m  s-1 ", "metre per second", "M/S"),
    ("K", "kelvin", "Kelvin", "degK"),
    ("degC", "celsius", "Celsius", "C", "°C", "deg C", "degrees_C"),
    ("hPa", "mbar", "mb", "millibars", "hectopascal"),
    ("mm h-1", "mm/h", "mm/hr", "mm hour**-1"),
    ("kg m-2 s-1", "kg m**-2 s**-1", "kg/m^2/s", "kg.m-2.s-1"),
    ("m", "metres", "m of water equivalent"),
    ("1", "kg kg-1", "kg/kg", "(0 - 1)", "dimensionless", "Proportion"),
    ("m2 s-2", "m**2 s**-2", "J kg-1"),
    ("dBZ", "dBZ"),
    ("hPa", "mb", "HPA", "[hPa]", "hectopascal"),
)
CONVERTIBLE = {
    "temperature": ("K", "degC", "degF"),
    "pressure": ("Pa", "hPa", "mbar"),
    "depth": ("m", "mm", "cm"),
    "rate": ("mm h-1", "m s-1", "mm/day", "kg m-2 s-1"),
    "share": ("1", "%", "g kg-1"),
}


@pytest.mark.parametrize("spellings", SPELLINGS, ids=lambda s: s[0])
def test_spellings_of_one_unit(spellings: tuple[str, ...]) -> None:
    assert all(conversion(a, b) == SAME for a in spellings for b in spellings)


@pytest.mark.parametrize(
    ("a", "b", "line"),
    [
        ("degC", "K", Conversion(1.0, 273.15)),
        ("hPa", "Pa", Conversion(100.0, 0.0)),
        ("m", "mm", Conversion(1000.0, 0.0)),
        ("kg m-2 s-1", "kg m-2 h-1", Conversion(3600.0, 0.0)),
        ("%", "1", Conversion(0.01, 0.0)),
        ("kg m-2", "mm", Conversion(1.0, 0.0)),
        ("kg m-2 s-1", "mm h-1", Conversion(3600.0, 0.0)),
        ("m", "kg m**-2", Conversion(1000.0, 0.0)),
        ("mm/day", "kg m-2 s-1", Conversion(float(f"{1 / 86400:.12g}"), 0.0)),
        ("kg m-2 s-1", "mm", None),
        ("kg m-3", "1", None),
        ("m", "mm h-1", None),
        ("m s-1", "K", None),
        ("dBZ", "mm h-1", None),
        ("???", "K", None),
        ("Pa", "s", None),
    ],
)
def test_what_converts(a: str, b: str, line: Conversion | None) -> None:
    assert conversion(a, b) == line


@given(
    st.sampled_from(list(CONVERTIBLE.values())).flatmap(lambda units: st.tuples(*[st.sampled_from(units)] * 2)),
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=5),
)
def test_there_and_back(pair: tuple[str, str], values: list[float]) -> None:
    there, back = conversion(*pair), conversion(*pair[::-1])
    assert there is not None and back is not None
    np.testing.assert_allclose(back(there(np.array(values))), values, rtol=1e-9, atol=1e-6)


def test_what_is_said(caplog: pytest.LogCaptureFixture) -> None:
    wanted = {"t": "K", "p": "Pa", "u": "m s-1", "r": "1", "q": None, "z": "m"}
    found = conversions({"t": "degC", "p": None, "u": "m/s", "r": "", "q": "", "x": "m"}, wanted, "'a.nc'", "'b.nc'")
    assert found == {"t": Conversion(1.0, 273.15)}
    assert sorted(r.getMessage() for r in caplog.records) == [
        "'a.nc' or 'b.nc' has no units for p; both are taken to have the same",
        "'a.nc': converted to the units of 'b.nc': t (degC to K)",
    ]


def test_equal_texts_need_no_registry() -> None:
    code = "import sys; from fdsr.units import conversion; conversion('K', 'K'); assert 'pint' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
