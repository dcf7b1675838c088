"""The W&B workspace and report of a comparison: what they show, of which runs, and what is said where they cannot be saved."""

from __future__ import annotations

import builtins
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from tested_runs import VARIABLES, write_run, write_runs
from wandb_spec import referenced

from fdsr.commands.report import main as report
from fdsr.errors import FdsrError
from fdsr.records import RunFolder
from fdsr.report.page import study_table
from fdsr.report.runs import read_run
from fdsr.report.studies import EVERY, Study, make_studies
from fdsr.report.sweep_table import SweepTable
from fdsr.report.wandb.results import summary_of_fields, tables_of_fields
from fdsr.report.wandb.server import place, publish
from fdsr.report.wandb.workspace import chapters, make_report, make_workspace, run_ids, specification


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All but ddgan are logged; the trainings of ddpm's seeds one folder above their tests."""
    found = write_runs(tmp_path_factory.mktemp("runs"))
    for number, run in enumerate(found[:-1]):
        note(run, test=f"test-{number}")
    for seed in range(3):
        note(found[0].parent / f"ddpm-seed={seed}", fit=f"fit-{seed}")
        lines = [
            {"step": 0, "train_loss": 1.0},
            {"step": 1, "train_loss": 0.5, "epoch": 0},
            {"step": 1, "fdsr/lsd/t2m": 1.0},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 2, "train_l'
        (found[0].parent / f"ddpm-seed={seed}" / "metrics.jsonl").write_text(text)
    return found


def note(folder: Path, **ids: str) -> None:
    (folder / "wandb_runs.json").write_text(json.dumps(ids))


@pytest.fixture(scope="module")
def study(runs: list[Path]) -> Study:
    (found,) = make_studies([read_run(run) for run in runs])
    return found


@pytest.fixture(scope="module")
def spec(study: Study) -> dict[str, Any]:
    found = chapters([study], [])
    return specification(make_workspace("us", "weather", found), make_report("us", "weather", found))


def sections(spec: dict[str, Any]) -> dict[str, list[dict]]:
    bank = spec["workspace"]["spec"]["section"]["panelBankConfig"]
    return {section["name"]: section["panels"] for section in bank["sections"]}


def filtered(runset: dict[str, Any]) -> set[str]:
    (only,) = runset["filters"]["filters"]
    assert (only["key"], only["op"]) == ({"section": "run", "name": "name"}, "IN")
    return set(only["value"])


def test_it_has_the_pages_sections(spec: dict[str, Any]) -> None:
    panels = sections(spec)
    assert list(panels) == [
        "Table", "Quality against cost", "Power against the truth's", "Spectra", "Rank histograms", "Training", "Runs"
    ]  # fmt: skip
    scatter = [p["config"] for p in panels["Quality against cost"] if p["viewType"] == "Scatter Plot"]
    assert {(p["xAxis"], p["yAxis"]) for p in scatter} == {
        (x, f"summary:fdsr/{metric}/{variable}")
        for x in ("config:nfe.value", "summary:fdsr/seconds_per_member")
        for metric in ("crps_or_mae", "lsd")
        for variable in VARIABLES
    }
    # a cut line and scores of tests are no curves of a training
    assert [p["config"]["metrics"] for p in panels["Training"]] == [["train_loss"]]
    kinds = [block["type"] for block in spec["report"]["spec"]["blocks"]]
    assert kinds.count("panel-grid") == len(panels) - 1


def test_it_names_nothing_that_runs_do_not_log(spec: dict[str, Any], runs: list[Path]) -> None:
    read = [read_run(run) for run in runs]
    logged = {key for run in read for key in summary_of_fields(run)}
    tables = {key: columns for run in read for key, columns, _ in tables_of_fields(run)}
    for part in spec.values():
        keys = referenced(part)
        assert keys.summary and keys.summary <= logged | set(tables)
        assert keys.config <= {"method", "seed", "members", "nfe"}
    charts = [p["config"] for panels in sections(spec).values() for p in panels if p["viewType"] == "Vega2"]
    assert len(charts) == len(tables) == 3 * len(VARIABLES)
    for chart in charts:
        assert set(chart["fieldSettings"].values()) <= set(tables[chart["stringSettings"]["title"]])


def test_it_shows_the_compared_runs_and_their_trainings(spec: dict[str, Any], runs: list[Path]) -> None:
    wanted = {f"test-{i}" for i in range(len(runs) - 1)} | {f"fit-{seed}" for seed in range(3)}
    assert filtered(spec["workspace"]["spec"]["section"]["runSets"][0]) == wanted
    grids = [b for b in spec["report"]["spec"]["blocks"] if b["type"] == "panel-grid"]
    assert all(filtered(grid["metadata"]["runSets"][0]) == wanted for grid in grids)
    assert run_ids(read_run(runs[1])) == ["test-1", "fit-0"] and run_ids(read_run(runs[-1])) == []


def test_the_table_is_the_pages(spec: dict[str, Any], study: Study) -> None:
    (panel,) = sections(spec)["Table"]
    lines = [line for line in panel["config"]["value"].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    table = study_table(study, EVERY)
    assert rows[0] == ["method", *(heading for heading, _ in table["columns"])]
    for row, expected in zip(rows[2 : 2 + len(table["rows"])], table["rows"], strict=True):
        assert row[0] == expected["label"]
        for text, cell in zip(row[1:], expected["cells"], strict=True):
            assert cell.value in text and cell.spread in text and text.startswith("**") == cell.best


def test_scores_keep_their_values(runs: list[Path]) -> None:
    bicubic, ddpm = read_run(runs[0]), read_run(runs[1])
    for run, metric in ((bicubic, "mae"), (ddpm, "crps")):
        summary = summary_of_fields(run)
        assert {f"fdsr/{m}/{v}" for m, v in run.values} <= set(summary)
        assert summary["fdsr/crps_or_mae/u10"] == run.values[metric, "u10"]
        assert summary["fdsr/seconds_per_member"] == run.seconds
    tables = {key: rows for key, _, rows in tables_of_fields(ddpm)}
    ranks = tables["fdsr/rank_histogram/t2m"]
    assert len(ranks) == 5 and sum(f for _, f in ranks) == pytest.approx(5)  # four members, five places, flat is 1
    assert ranks[0][0] == pytest.approx(0.1) and ranks[-1][0] == pytest.approx(0.9)
    spectra = tables["fdsr/spectra/t2m"]
    power = {
        w: {round(k, 6): p for k, _, of, p in spectra if of == w} for w in ("members", "truth", "error of the mean")
    }
    for k, wavelength, decibel in tables["fdsr/power_ratio/t2m"]:
        assert k * wavelength == pytest.approx(1000)
        assert decibel == pytest.approx(10 * (power["members"][round(k, 6)] - power["truth"][round(k, 6)]), abs=1e-6)
    # a single forecast has neither ranks nor a mean
    single = {key: rows for key, _, rows in tables_of_fields(bicubic)}
    assert "fdsr/rank_histogram/t2m" not in single and {w for _, _, w, _ in single["fdsr/spectra/t2m"]} == {
        "members",
        "truth",
    }


def test_a_sweep_of_images(tmp_path: Path) -> None:
    row = {"method": "ddgan", "divergence": "gan", "T": 4, "nfe": 4, "seed": 0, "fid": "", "classifier_frechet": 9.5,
           "n_generated": 100, "seconds_per_image": 0.1, "device": "CPU", "commit": "abc"}  # fmt: skip
    with (tmp_path / "fid_vs_steps.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    RunFolder(tmp_path / "ddgan-T=4").describe("ddgan", {"T": 4})
    note(tmp_path / "ddgan-T=4", fit="fit-1", test="test-1")
    found = chapters([], [SweepTable.read(tmp_path / "fid_vs_steps.csv")])
    spec = specification(make_workspace("", "images", found), make_report("", "images", found))
    keys = referenced(spec["workspace"])
    assert keys.summary == {"fdsr/classifier_frechet", "fdsr/seconds_per_image", "fdsr/samples"}
    assert keys.config == {"method", "seed", "nfe"}
    assert filtered(spec["workspace"]["spec"]["section"]["runSets"][0]) == {"fit-1", "test-1"}


@pytest.mark.parametrize(
    ("text", "found"), [("us/weather", ("us", "weather")), ("weather", ("", "weather")), ("", ("", "fdsr"))]
)
def test_places(text: str, found: tuple[str, str]) -> None:
    assert place(text) == found


@pytest.mark.parametrize("text", ["a/b/c", "/b", "a/"])
def test_a_place_that_is_none(text: str) -> None:
    with pytest.raises(FdsrError, match="neither ENTITY/PROJECT nor PROJECT"):
        place(text)


def test_a_run_in_the_place_of_a_project(runs: list[Path]) -> None:
    with pytest.raises(FdsrError, match=r"has taken '.*' for ENTITY/PROJECT; give the runs first"):
        report([str(runs[0]), "--wandb", str(runs[1])])


def test_without_the_extra(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Callable[..., Any] = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("wandb_workspaces"):
            raise ModuleNotFoundError(f"No module named '{name}'")
        return found(name, *args, **kwargs)

    monkeypatch.delitem(__import__("sys").modules, "fdsr.report.wandb.workspace")
    monkeypatch.delattr("fdsr.report.wandb.workspace")
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(FdsrError, match=r"pip install 'fdsr\[workspace\]'"):
        publish("us/weather", [study], [], tmp_path)


@pytest.mark.parametrize("logged_in", [False, True])
def test_what_cannot_be_saved_is_written_all_the_same(
    tmp_path: Path, study: Study, logged_in: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*args: Any) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(wandb, "login", lambda **options: logged_in)
    monkeypatch.setattr("wandb_workspaces.workspaces.Workspace.save", unreachable)
    with pytest.raises(FdsrError, match="did not take .*: no route to host" if logged_in else "nobody is logged in"):
        publish("us/weather", [study], [], tmp_path)
    assert set(json.loads((tmp_path / "wandb_workspace.json").read_text())) == {"workspace", "report"}
    assert "(1 of 8 runs were not logged and are missing)" in capsys.readouterr().out


def test_other_data_get_sections_of_their_own(tmp_path: Path, study: Study) -> None:
    other = make_studies([read_run(write_run(tmp_path / "bicubic", members=1, nfe=0, error=1.0, fingerprint="other"))])
    workspace = make_workspace("us", "weather", chapters([study, *other], []))
    names = [section.name for section in workspace.sections]
    assert len(set(names)) == len(names) > 8
    assert {name.split(": ")[0] for name in names} == {f"{study.title} (1)", f"{study.title} (2)"}
