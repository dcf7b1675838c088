"""`fdsr export` of a tested run: a folder that says what it is, and that a hub takes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from synthetic import TINY_DDGAN
from tiny_images import SPEC

import fdsr
from fdsr.data import WeatherDataModule
from fdsr.data.attribution import in_words
from fdsr.modules import DDGANModule, DownscalingModule
from fdsr.modules.card import model_card


@pytest.mark.slow
def test_a_tested_run_as_a_folder(
    program: Callable[..., int], trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, fitted = trained
    run, folder = tmp_path / "run", tmp_path / "shared"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint = run / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes((fitted / "checkpoints" / "last.ckpt").read_bytes())
    assert program("export", checkpoint, tmp_path / "untested") == 0
    said = capsys.readouterr().out
    assert "none; test the run first" in said and "attribution: Made by a test." in said
    untested = (tmp_path / "untested" / "README.md").read_text()
    assert "has not been scored" in untested and "Training data: Made by a test." in untested
    assert program("test", "--config", config, "--run", run, "--ckpt_path", checkpoint) == 0
    options = ("--name", "lab/fine", "--licence", "CC-BY-4.0", "--attribution", "Made by another.")
    assert program("export", checkpoint, folder, *options) == 0
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"test": record["test"] | {"weights": "of another"}}))
    assert program("export", checkpoint, tmp_path / "changed") == 0
    assert "are of other weights; test the run first" in capsys.readouterr().out
    assert not (tmp_path / "changed" / "test_metrics.csv").exists()
    names = {"README.md", "LICENSE", "config.json", "model.safetensors", "test_metrics.csv"}
    assert {p.name for p in folder.iterdir()} == names
    card = (folder / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == "cc-by-4.0" and facts["library_name"] == "fdsr" and "downscaling" in facts["tags"]
    rows = list(csv.DictReader((folder / "test_metrics.csv").open(newline="")))
    (result,) = facts["model-index"][0]["results"]
    assert len(result["metrics"]) == len(rows) and result["task"]["type"] == "image-to-image"
    crps = next(r["value"] for r in rows if (r["metric"], r["variable"]) == ("crps", "t2m"))
    assert f"| crps | {crps} |" in body and "t2m (K), u10 (m s-1)" in body and "30 × 30 degrees to 7.5 × 7.5" in body
    assert "Made by another." in body and "Made by another." in (folder / "LICENSE").read_text()
    assert "CC-BY-4.0" in (folder / "LICENSE").read_text() and 'fdsr.load("lab/fine")' in body
    assert json.loads((folder / "config.json").read_text())["spec"]["factor"] == [4, 4]
    assert fdsr.load(folder, "cpu").module.home.high_channels == ["t2m", "u10"]


def test_a_card_says_what_a_model_is_told(build: Callable[..., DownscalingModule], data: WeatherDataModule) -> None:
    card = model_card(build("RegressionModule"), "plain", "MIT")
    assert "| is told | position |" in card and "| static fields | orography (m) |" in card
    assert "`RegressionModule`, 1 network evaluations" in card and "lat points" in card and "Weights: MIT." in card


def test_a_card_of_a_model_of_images() -> None:
    module = DDGANModule(**TINY_DDGAN)
    module.attach(SPEC)
    measured = {"fid": 20.123, "n_generated": 10_000, "device": "CPU", "commit": "abc", "seconds_per_image": 1.0}
    card = model_card(module, "clothes", "MIT", distances=measured)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["pipeline_tag"] == "unconditional-image-generation" and "weather" not in front["tags"]
    assert "| FID | 20.12 |" in card and "10,000 images, CPU, commit abc" in card and "evaluations an image" in card
    assert "has not been scored" not in card and "downscale" not in card
    assert "has not been scored" in model_card(module, "clothes", "MIT")


def test_what_is_owed_in_words() -> None:
    about = {"attribution": "Contains X.", "institution": "Y", "license": "CC-BY-4.0", "references": "Z (2020)."}
    assert in_words(about) == "Contains X. Licence of the data: CC-BY-4.0. References: Z (2020)."
    assert in_words({"institution": "Y"}) == "Y." and in_words({}) == in_words(None) == ""
