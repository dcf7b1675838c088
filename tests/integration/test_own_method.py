"""The README's method of a user's own, as it stands there, through every verb."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
import yaml

ROOT = Path(__file__).parents[2]
SMALL = [
    "--model.backbone_args={width: 8, multipliers: [1, 2], groups: 4}",
    "--model.members=2",
    "--model.steps=2",
    "--data.evaluate_every=4",
]  # one time of the test block


@pytest.mark.slow
def test_the_readmes_own_method(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("## Your own method in 30 lines")[1].split("\n## ")[0]
    (code,), (configuration,) = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("python", "yaml"))
    docstring = re.findall(r'""".*?"""\n', code, re.DOTALL)[0]
    assert len([line for line in code.replace(docstring, "").splitlines() if line.strip()]) <= 30
    (tmp_path / "mylab.py").write_text(code)
    (tmp_path / "mylab.yaml").write_text(configuration)
    for name in ("experiments", "data"):  # the paths in it are the repository's
        (tmp_path / name).symlink_to(ROOT / name)

    sweep = {
        "table": "test_metrics",
        "keys": {"steps": "model.init_args.steps"},
        "settings": {
            "model.init_args.backbone_args": {"width": 8, "multipliers": [1, 2], "groups": 4},
            "model.init_args.members": 2,
            "data.init_args.evaluate_every": 4,
        },
        "fit": {"trainer.max_steps": 2},
        "blocks": [{"method": "flow", "config": "mylab.yaml", "grid": {"steps": [1]}}],
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    common = ["--config", "mylab.yaml", *SMALL]
    commands = [
        ["fit", *common, "--trainer.max_steps=4"],
        ["test", *common],
        ["predict", *common],
        ["export", "runs/mylab/checkpoints/last.ckpt", "shared"],
        ["test", *common, "--ckpt_path=shared", "--run=runs/exported"],
        ["sweep", "sweep.yaml"],
        ["report", "runs/mylab", "runs/sweep"],
        ["fit", "--model.help", "mylab.FlowMatchingModule"],
    ]
    # one process for all: each would import torch anew. As the installed command runs: unlike `python -m`, it does not begin
    # with the working directory on its path
    program = (
        "import sys; sys.path.pop(0); from fdsr.cli import main; assert not any([main(c) for c in eval(sys.argv[1])])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, repr(commands)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "Euler steps, each a network evaluation" in run.stdout
    with (
        (tmp_path / "runs/mylab/test_metrics.csv").open() as one,
        (tmp_path / "runs/exported/test_metrics.csv").open() as two,
    ):
        rows, again = list(csv.DictReader(one)), list(csv.DictReader(two))
    assert {r["nfe"] for r in rows} == {"2"} and [r["value"] for r in rows] == [r["value"] for r in again]
    assert xr.open_zarr(tmp_path / "runs/mylab/prediction.zarr").sizes["member"] == 2
    assert "flow" in (tmp_path / "runs/sweep/report.html").read_text()
