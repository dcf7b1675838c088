"""Differences in pairs of seeds: who is held against whom, their means and errors, and when an effect is claimed."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tested_runs import VARIABLES, write_run, write_runs

from fdsr.records import RunFolder
from fdsr.report.page import pairs_table, render
from fdsr.report.pairs import Difference, differences, write_differences
from fdsr.report.runs import read_run
from fdsr.report.studies import Study, make_studies


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """bicubic, ddpm (three seeds at 8 and 32 evaluations), ddgan (seed 0), and a mode that is better than ddpm by far."""
    folder = tmp_path_factory.mktemp("runs")
    runs = write_runs(folder)
    for seed in range(3):
        name = f"fourier-seed={seed}/fourier-nfe=8"
        axes = {"seed": seed, "nfe": 8}
        runs.append(write_run(folder / name, members=4, nfe=8, error=0.5, seed=seed, method="fourier", axes=axes))
    (found,) = make_studies([read_run(run) for run in runs])
    return found


def test_methods_meet_at_equal_evaluations_and_others_the_largest(study: Study) -> None:
    met = {(d.entry.label, d.against.label): len(d.values) for d in differences(study, "lsd")}
    assert met == {("ddgan", "ddpm, 32 NFE"): 1, ("fourier", "ddpm, 8 NFE"): 3}
    assert differences(study, "lsd", baselines=("nobody",)) == []
    assert differences(study, "effective_resolution_of_nothing") == []
    by_gan = [(d.entry.label, d.against.label) for d in differences(study, "lsd", baselines=("ddgan",))]
    assert by_gan == [("ddpm, 8 NFE", "ddgan"), ("ddpm, 32 NFE", "ddgan"), ("fourier", "ddgan")]
    # two baselines: a match of evaluations with one is enough, and where there is none both are met
    both = [(d.entry.label, d.against.label) for d in differences(study, "lsd", baselines=("ddpm", "fourier"))]
    assert sorted(both) == [
        ("ddgan", "ddpm, 32 NFE"),
        ("ddgan", "fourier"),
        ("ddpm, 8 NFE", "fourier"),
        ("fourier", "ddpm, 8 NFE"),
    ]


def test_means_and_errors_are_of_pairs_of_seeds(study: Study) -> None:
    by_seed = {}
    for method in ("ddpm", "fourier"):
        (entry,) = [e for e in study.entries if e.method == method and e.nfe == 8]
        by_seed[method] = np.array([run.values["crps", "u10"] for run in sorted(entry.runs, key=lambda r: r.seed)])
    found = next(d for d in differences(study, "crps", "u10") if d.entry.method == "fourier")
    difference = by_seed["fourier"] - by_seed["ddpm"]
    assert found.mean == pytest.approx(difference.mean()) and found.error == pytest.approx(stats.sem(difference))
    assert found.verdict == "better"
    # the nearer to one, the better: what decides is the distance, what is shown the difference of the ratios
    ratio = next(d for d in differences(study, "spread_skill", "u10") if d.entry.method == "fourier")
    assert abs(ratio.mean) < 0.05 and ratio.verdict in ("undecided", "better", "worse")


def a_difference(study: Study, values: tuple[float, ...]) -> Difference:
    return Difference(study.entries[0], study.entries[1], "lsd", "", values, values)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((-1.0, -1.1, -0.9), "better"),
        ((1.0, 1.1, 0.9), "worse"),
        ((-1.0, -1.1, 0.1), "undecided"),  # they disagree
        ((-1.0, -0.01, -0.01), "undecided"),  # they agree within two standard errors
        ((-1.0, -1.1), "too few pairs"),
        ((-1.0,), "too few pairs"),
        ((0.0, 0.0, 0.0), "undecided"),
    ],
)
def test_an_effect_is_claimed_of_three_pairs_that_agree(study: Study, values: tuple[float, ...], verdict: str) -> None:
    assert a_difference(study, values).verdict == verdict


@given(values=st.lists(st.floats(-10, 10), min_size=3, max_size=6))
def test_the_verdict_turns_with_the_sign(study: Study, values: list[float]) -> None:
    turned = {"better": "worse", "worse": "better", "undecided": "undecided"}
    there, back = a_difference(study, tuple(values)), a_difference(study, tuple(-v for v in values))
    assert back.verdict == turned[there.verdict]
    if there.verdict != "undecided":
        assert abs(np.mean(values)) > 2 * np.std(values, ddof=1) / np.sqrt(len(values)) and np.ptp(np.sign(values)) == 0


def test_too_much_here_does_not_mend_too_little_there(tmp_path: Path) -> None:
    """Of a score that should be 1 the mean of what each variable lacks decides, not that of the variables."""
    runs = []
    for name, values in (("even", (0.95, 0.97)), ("odd", (0.5, 1.5))):
        run = write_run(tmp_path / name, members=4, nfe=8, error=1.0)
        table = RunFolder(run).table
        spread = dict(zip(VARIABLES, values, strict=True))
        table.write(
            [r | {"value": str(spread[r["variable"]])} if r["metric"] == "spread_skill" else r for r in table.read()]
        )
        runs.append(run)
    (study,) = make_studies([read_run(run) for run in runs])
    assert study.best("spread_skill") == {"even"}
    (found,) = differences(study, "spread_skill", baselines=("odd",))
    assert found.badness == pytest.approx((0.04 - 0.5,), abs=1e-9)


def test_trainings_of_unequal_length_are_no_seeds_of_one_method(tmp_path: Path) -> None:
    runs = []
    for seed, steps in ((0, 200), (1, 20_000), (2, 200)):
        run = write_run(tmp_path / str(seed), members=4, nfe=8, error=1.0, seed=seed, method="ddpm")
        RunFolder(run).begin("fit", {}, f"model: {{class_path: DDPM}}\ntrainer: {{max_steps: {steps}}}\n")
        runs.append(read_run(run))
    (study,) = make_studies(runs)
    assert [len(entry.runs) for entry in study.entries] == [1, 1, 1]
    (study,) = make_studies([runs[0], runs[2]])
    assert [len(entry.runs) for entry in study.entries] == [2]


def test_runs_without_a_common_seed_are_no_pair(study: Study) -> None:
    others = tuple(
        replace(e, runs=tuple(replace(r, facts=r.facts | {"seed": r.seed + "7"}) for r in e.runs))
        if e.method == "fourier"
        else e
        for e in study.entries
    )
    assert {d.entry.method for d in differences(replace(study, entries=others), "lsd")} == {"ddgan"}


def test_the_table_has_every_pair_and_the_page_shows_them(study: Study, tmp_path: Path) -> None:
    path = write_differences([study], tmp_path / "differences.csv")
    assert path is not None
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["variable"] for r in rows} == {"all", *VARIABLES}
    (row,) = [r for r in rows if r["method"] == "fourier" and r["metric"] == "lsd_fine" and r["variable"] == "all"]
    assert row["pairs"] == "3" and row["verdict"] == "better" and float(row["mean_difference"]) < 0
    table = pairs_table(study)
    assert table is not None
    assert [r["label"] for r in table["rows"]] == ["fourier − ddpm, 8 NFE", "ddgan − ddpm, 32 NFE"]
    html = render([study], [])
    assert "Differences in pairs of seeds" in html and "<small>better</small>" in html
    alone = replace(study, entries=tuple(e for e in study.entries if e.method != "ddpm"))
    assert write_differences([alone], tmp_path / "none.csv") is None and not (tmp_path / "none.csv").exists()
    assert "Differences in pairs" not in render([alone], [])
