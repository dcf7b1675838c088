"""Runs logged to W&B as they are by default, offline, read back from their files; and the workspace that is built for them."""

from __future__ import annotations

import csv
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from wandb_spec import logged, referenced

Program = Callable[..., int]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a user who has never heard of W&B, on a machine whose network must not be used."""

    def no_network(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and not str(address).startswith("('127.0.0.1'"):
            raise AssertionError(f"an offline run called {address}")
        connect(self, address)

    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", no_network)
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_fit_test_and_report(
    offline: None, program: Program, configure: Callable[..., Path], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config, run = configure(), tmp_path / "runs" / "tiny"
    common = ("--config", config, "--run", run, "--trainer.enable_progress_bar", "false")
    assert program("fit", *common) == 0
    assert program("fit", *common, "--ckpt_path", "last", "--trainer.max_steps", "4") == 0
    assert program("test", *common) == 0
    output = capfd.readouterr()
    assert "wandb" not in output.out + output.err.lower().replace(str(tmp_path), "")

    stages = json.loads((run / "wandb_runs.json").read_text())
    files = {stage: sorted((run / "wandb").glob(f"offline-run-*-{id}/run-{id}.wandb")) for stage, id in stages.items()}
    # a training that goes on is the same W&B run, in a second file; a test is one of its own
    assert {stage: len(found) for stage, found in files.items()} == {"fit": 2, "test": 1}
    assert not (tmp_path / "wandb").exists() and (run / "metrics.jsonl").exists()  # beside the record, not instead
    fit, test = logged(files["fit"][-1]), logged(files["test"][0])
    assert fit["state"] == test["state"] == "finished" and fit["project"] == test["project"] == "fdsr"
    assert fit["run_id"] == stages["fit"] and fit["summary"]["trainer/global_step"] == 3
    assert fit["config"]["model"]["class_path"].endswith("FourierDDPMModule")
    assert fit["config"]["record"]["fit"]["steps"] == 4

    # every score of the table, to its last digit
    with (run / "test_metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 20
    for row in rows:
        assert float(test["summary"][f"fdsr/{row['metric']}/{row['variable']}"]) == float(row["value"])
    assert {k: test["config"][k] for k in ("method", "seed", "members", "nfe", "n_times", "split")} == {
        "method": "tiny", "seed": 0, "members": 2, "nfe": 2, "n_times": 3, "split": "test"}  # fmt: skip
    record = json.loads((run / "run.json").read_text())
    assert test["config"]["record"] == record
    assert test["summary"]["fdsr/seconds_per_member"] == record["test"]["seconds_per_member"]

    assert program("report", run, "--output", tmp_path / "out", "--wandb", "us/weather") == 2
    said = capfd.readouterr()
    assert said.err.splitlines()[-1].startswith("fdsr: error: nobody is logged in to Weights & Biases")
    assert len(said.err.splitlines()) == 1 and (tmp_path / "out" / "report.html").stat().st_size > 10_000
    spec = json.loads((tmp_path / "out" / "wandb_workspace.json").read_text())
    for part in ("workspace", "report"):
        keys = referenced(spec[part])
        assert {f"fdsr/{what}/t2m" for what in ("crps_or_mae", "lsd", "spectra", "rank_histogram")} <= referenced(
            spec["workspace"]
        ).summary
        assert keys.summary <= set(test["summary"]) and keys.config <= set(test["config"])
        assert "train_loss" in keys.history and keys.history <= set(fit["summary"])
        assert set(stages.values()) == set(re.findall(r"(?:fit|test)-[0-9a-f]{8}", json.dumps(spec[part])))
    # charts are drawn of columns that the tables have
    for table in (run / "wandb").glob("offline-run-*/files/media/table/**/*.table.json"):
        kind = table.parent.name
        columns = json.loads(table.read_text())["columns"]
        charts = [f for f in _charts(spec["workspace"]) if f["stringSettings"]["title"].startswith(f"fdsr/{kind}/")]
        assert charts and all(set(chart["fieldSettings"].values()) <= set(columns) for chart in charts)


def _charts(node: object) -> list[dict]:
    if isinstance(node, dict) and "fieldSettings" in node:
        return [node]
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [chart for item in items for chart in _charts(item)]
