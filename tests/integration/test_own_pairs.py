"""--store: a configuration as it stands, on pairs of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from synthetic import pair_config

from fdsr.data import prepare

Configure = Callable[..., Path]


@pytest.fixture
def other(source_path: str, tmp_path: Path) -> Path:
    """Pairs that differ from the configuration's in all that can: one variable, no static field, another factor."""
    return prepare(pair_config(source_path, variables=["u10"], static=[], factor=2, gap=0), tmp_path / "other.zarr")


def test_what_the_configuration_says_of_making_pairs_goes_and_the_rest_stays(
    program: Callable[..., int], configure: Configure, other: Path, tmp_path: Path
) -> None:
    config, run = configure(), tmp_path / "run"
    assert program("fit", "--config", config, "--run", run, "--store", other) == 0
    assert program("test", "--config", config, "--run", run, "--store", other) == 0
    written, said = (yaml.safe_load(p.read_text())["data"]["init_args"] for p in (run / "config.yaml", config))
    assert written["store"] == str(other) and "source" not in written and written["variables"] == []
    assert (written["patch"], written["batch_size"]) == (said["patch"], said["batch_size"])


def test_who_says_how_pairs_are_made_that_are_made_is_refused(
    refused: Callable[..., str], configure: Configure, other: Path, tmp_path: Path
) -> None:
    fit = ("fit", "--config", configure(), "--run", tmp_path / "run", "--store", other)
    message = refused(*fit, "--data.init_args.factor=4")
    assert message.endswith("--store says how its pairs were made; leave out --data.init_args.factor")
    assert "leave out --data.init_args.store" in refused(*fit, "--data.store", other)
    assert "for pairs of fields, not for tiny_images.TinyImages" in refused(*fit, "--data", "tiny_images.TinyImages")


@pytest.mark.parametrize("local_scale", ["none", "climatological"])
def test_a_store_that_is_none(
    refused: Callable[..., str], configure: Configure, source_path: str, tmp_path: Path, local_scale: str
) -> None:
    fit = ("fit", "--config", configure(model__local_scale=local_scale), "--run", tmp_path / "run", "--store")
    nowhere = tmp_path / "nowhere.zarr"
    assert f"pair store '{nowhere}' does not exist" in refused(*fit, nowhere)
    assert "is not a finished pair store" in refused(*fit, source_path)
