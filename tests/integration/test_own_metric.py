"""A metric in a user's own module, as the README has it: one class, and it is found wherever scores are shown."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from synthetic import latitude_weights
from wandb_spec import referenced

from fdsr.metrics import evaluate
from fdsr.report.runs import read_run
from fdsr.report.studies import make_studies
from fdsr.report.wandb.workspace import chapters, make_report, make_workspace, specification

README = Path(__file__).parents[2] / "fdsr" / "metrics" / "README.md"


def block(language: str) -> str:
    """The first code in that language in the README's section."""
    section = README.read_text().split("## Your own metric")[1]
    found = re.search(rf"```{language}\n(.*?)```", section, re.S)
    assert found is not None
    return found[1]


@pytest.fixture
def mylab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to import from, with mylab/scores.py as the README writes it."""
    folder = tmp_path / "lib"
    (folder / "mylab").mkdir(parents=True)
    (folder / "mylab" / "scores.py").write_text(block("python"))
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in ("mylab.scores", "mylab"):
        sys.modules.pop(name, None)


def test_evaluate_gives_it(mylab: Path) -> None:
    rng = np.random.default_rng(0)
    lat = np.linspace(60.0, 41.0, 20)
    coords = {"lat": lat, "lon": np.arange(24.0)}
    truth = xr.Dataset({"t": (("lat", "lon"), rng.standard_normal((20, 24)))}, coords)
    members = xr.Dataset({"t": (("member", "lat", "lon"), rng.standard_normal((5, 20, 24)))}, coords)
    found = evaluate(members, truth, metrics="+mylab.scores.Pinball")
    error = truth["t"].values - np.quantile(members["t"].values, 0.9, axis=0)
    score = np.maximum(0.9 * error, -0.1 * error).mean(1)
    assert float(found["pinball90"][0]) == pytest.approx(np.average(score, weights=latitude_weights(lat)), rel=1e-12)
    assert found["pinball90"].attrs["long_name"] == "quantile score of the members' 90 % quantile" and "crps" in found
    assert set(evaluate(members, truth, metrics=["mylab.scores.Pinball"]).data_vars) == {"pinball90"}


@pytest.mark.slow
def test_it_is_found_everywhere(
    mylab: Path, program: Callable[..., int], configure: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    own = yaml.safe_load(block("yaml"))

    def configured(method: str, name: str) -> Path:
        path = configure(method, name)
        config = yaml.safe_load(path.read_text())
        training = {"callbacks": own["trainer"]["callbacks"], "val_check_interval": 1}
        config |= {"metrics": own["metrics"], "trainer": config["trainer"] | training}
        path.write_text(yaml.safe_dump(config))
        return path

    runs = [mylab.parent / "runs" / name for name in ("bicubic", "tiny")]
    assert program("test", "--config", configured("InterpolationModule", "bicubic"), "--run", runs[0]) == 0
    tiny = configured("FourierDDPMModule", "tiny")
    assert program("fit", "--config", tiny, "--run", runs[1]) == 0
    assert program("test", "--config", tiny, "--run", runs[1]) == 0

    logged = {key for line in (runs[1] / "metrics.jsonl").read_text().splitlines() for key in json.loads(line)}
    assert {"fdsr/pinball90/t2m", "fdsr/pinball90/u10", "fdsr/crps/t2m"} <= logged
    values = {}
    for run in runs:
        with (run / "test_metrics.csv").open(newline="") as file:
            values[run.name] = {r["variable"]: r["value"] for r in csv.DictReader(file) if r["metric"] == "pinball90"}
        assert set(values[run.name]) == {"t2m", "u10"}
        with xr.open_dataset(run / "test_scores.nc", engine="scipy") as scores:
            assert scores["pinball90"].sel(variable="t2m") == pytest.approx(float(values[run.name]["t2m"]), rel=1e-5)

    # whoever reports need not have the class
    sys.path.remove(str(mylab))
    for name in ("mylab.scores", "mylab"):
        del sys.modules[name]
    capfd.readouterr()
    out = mylab.parent / "out"
    assert program("report", *runs, "--output", out) == 0
    relative = np.mean([float(values["tiny"][v]) / float(values["bicubic"][v]) for v in ("t2m", "u10")])
    header, _, *lines = capfd.readouterr().out.splitlines()
    assert "pinball 90 % t2m" in header and "/ PINBALL90 bicubic" in header
    assert any(line.startswith("tiny") and f"{relative:.3f}" in line.split() for line in lines)
    assert f"tiny,t2m,pinball90,{values['tiny']['t2m']}," in (out / "comparison.csv").read_text()
    page = (out / "report.html").read_text()
    assert 'title="quantile score of the members&#39; 90 % quantile">pinball 90 %</th>' in page
    assert "pinball 90 % ratio</th>" in page and "pinball 90 %, mean over variables, against NFE" in page

    chapter = chapters(make_studies([read_run(run) for run in runs]), [])
    for part in specification(make_workspace("us", "weather", chapter), make_report("us", "weather", chapter)).values():
        assert {"fdsr/pinball90/t2m", "fdsr/pinball90/u10"} <= referenced(part).summary
        assert "pinball 90 % ratio" in json.dumps(part, ensure_ascii=False)
