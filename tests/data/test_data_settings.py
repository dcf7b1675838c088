"""Every setting of the data modules is explained by --help, and refused when it is built, not when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import jsonargparse
import pytest
import yaml
from synthetic import SPLIT

from fdsr.data import FashionMNISTDataModule, PrepareConfig, WeatherDataModule
from fdsr.data.choices import Compression, Missing, ReaderName
from fdsr.data.making.missing_values import POLICIES
from fdsr.data.making.writing import COMPRESSIONS
from fdsr.data.serving.readers import READERS
from fdsr.errors import FdsrError


@pytest.mark.parametrize("module", [WeatherDataModule, FashionMNISTDataModule])
def test_every_argument_has_help(module: type) -> None:
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(module, "data", fail_untyped=False)
    helps = {a.dest.removeprefix("data."): a.help for a in parser._actions if a.dest.startswith("data.")}
    assert [name for name, text in helps.items() if not text or len(text) < 10] == []
    if module is WeatherDataModule:
        assert {f.name for f in fields(PrepareConfig)} <= set(helps) and "kwargs" not in helps


def test_choices_are_what_there_is() -> None:
    assert set(get_args(ReaderName)) == {"auto", *READERS}
    assert set(get_args(Missing)) == set(POLICIES) and set(get_args(Compression)) == set(COMPRESSIONS)


def test_all_that_prepares_a_store_is_a_setting_of_the_data(
    program: Callable[..., int], configure: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure("FourierDDPMModule", data__time_range=["2020-01-01", "2020-01-05"], data__missing="mask")
    with pytest.raises(SystemExit):
        program("fit", "--config", config, "--data.low_source", "other.zarr", "--data.low_variables", "[t2m]",
                "--data.static_source", "static.zarr", "--print_config")  # fmt: skip
    said = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]
    assert said["time_range"] == ["2020-01-01", "2020-01-05"] and said["missing"] == "mask"
    assert (said["low_source"], said["low_variables"], said["static_source"]) == ("other.zarr", ["t2m"], "static.zarr")
    assert (said["interpolation"], said["reader"], said["split"]) == ("bicubic", "auto", SPLIT)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"reader": "fast"}, "reader 'fast' is unknown; choose one of auto, direct, tensorstore, zarr"),
        ({"flips": ["lon"]}, "'lon' is unknown; choose one of longitude, latitude"),
        ({"missing": "skip"}, "missing values 'skip' is unknown; choose one of error, fill, mask"),
        ({"interpolation": "lanczos"}, "interpolation 'lanczos' is unknown"),
        ({"factor": 0}, "give at least 1"),
        ({"variables": []}, "no variables are asked for of 'source.zarr'"),
        ({"transforms": {"t2m": {"name": "log"}}}, "transform 'log' is unknown"),
        ({"low_variables": ["t2m"]}, "need an archive of their own"),
    ],
)
def test_refused_when_it_is_built(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(FdsrError, match=words):
        WeatherDataModule(**({"source": "source.zarr", "variables": ["t2m"]} | settings))
