"""Figures of fid_vs_steps.csv: what is drawn from which table, and which trainings count as converged."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread, imsave

from fdsr.drawing import png
from fdsr.errors import FdsrError
from fdsr.records import SweepFolder
from fdsr.report.compare import report
from fdsr.report.figures import samples
from fdsr.report.figures.distances import draw_sweep
from fdsr.report.sweep_table import SweepTable, flattened
from fdsr.sweep.table import CURVE_FIELDS, FID_FIELDS

Row = dict[str, Any]


def row(method: str, divergence: str, T: int, nfe: int, seed: int, **more: Any) -> Row:
    values = {
        "classifier_frechet": 10.0 / nfe + seed,
        "n_generated": 1000,
        "seconds_per_image": 0.01 * nfe,
        "device": "CPU",
    }
    return {"method": method, "divergence": divergence, "T": T, "nfe": nfe, "seed": seed} | values | more


def write(path: Path, fields: tuple[str, ...], rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def curve(values: list[float], seed: int = 0, method: str = "ddgan") -> list[dict[str, str]]:
    names = {"method": method, "divergence": "gan", "T": "4", "seed": str(seed), "metric": "classifier_frechet"}
    return [names | {"step": str(100 * (i + 1)), "value": str(v), "n_generated": "50"} for i, v in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "flat"),
    [
        ([40, 20, 10, 9.9, 9.8, 9.9, 9.8, 9.9], True),
        ([40, 35, 30, 25, 20, 16, 13, 10], False),
        ([40, 20, 10, 9, 8, 8, 7, 6], False),
        ([40, 20, 10, 10, 10, 10, 10.2, 9.2], False),  # noise hides that it still falls
        ([40, 20, 10, 9, 9, 9, 12, 15], False),  # it got worse
        ([40, 20, 10, 9.9], False),  # a single measurement in the last quarter
        ([9, 9, 9], False),  # three measurements show nothing
    ],
)
def test_a_training_is_flat_if_its_last_quarter_gained_little(values: list[float], flat: bool) -> None:
    assert flattened(pd.DataFrame(curve(values))) == (
        {("classifier_frechet", "ddgan", "gan", "4", "0")} if flat else set()
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures that were saved, by the file's stem, to be looked into."""
    figures: dict[str, Figure] = {}
    original = png.picture

    @contextmanager
    def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
        with original(path, width, height) as figure:
            yield figure
        figures[path.stem] = figure

    for module in (png, samples):
        monkeypatch.setattr(module, "picture", picture)
    return figures


def draw(table: Path, output: Path) -> list[Path]:
    return draw_sweep(SweepTable.read(table), output)


def test_numbers_of_images_in_words(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    rows = [row("ddgan", "gan", 4, 4, 0), row("ddgan", "gan", 4, 4, 0, n_reference=10_000)]
    draw(write(tmp_path / "fid_vs_steps.csv", FID_FIELDS, rows), tmp_path / "figures")
    legend = drawn["classifier_frechet_vs_steps"].axes[0].get_legend()
    assert legend is not None
    words = [text.get_text() for text in legend.get_texts()]
    assert {"1,000 images", "1,000 images with 10,000"} == set(words)


def test_points_lines_and_floor(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    rows = [{"method": "test_images", "classifier_frechet": 0.5, "n_generated": 10_000}]
    rows += [row("ddgan", "gan", T, T, seed) for T in (1, 4) for seed in (0, 1)]
    rows += [
        row("ddpm", "", 100, 100, 0),
        row("ddpm_ddim", "", 100, 10, 0),
        row("ddpm", "", 100, 100, 0, n_generated=5000),
    ]
    table = write(tmp_path / "fid_vs_steps.csv", FID_FIELDS, rows)
    flat, falling = curve([40, 20, 10, 10, 10, 10, 10, 10]), curve([40, 35, 30, 25, 20, 16, 13, 10], seed=1)
    write(tmp_path / "curves.csv", CURVE_FIELDS, [*flat, *falling])
    paths = draw(table, tmp_path / "figures")
    assert [p.name for p in paths] == ["classifier_frechet_vs_steps.png", "training_curves.png"]
    assert all(imread(p).shape[0] > 200 for p in paths)
    steps, seconds = drawn["classifier_frechet_vs_steps"].axes
    assert "classifier_frechet" in steps.get_ylabel() and steps.get_xscale() == seconds.get_yscale() == "log"
    lines = [
        [(float(x), float(y)) for x, y in line.get_xydata()] for line in steps.lines if line.get_linestyle() != "None"
    ]
    # means over two seeds; then DDPM with 1 000 and with 5 000 images, which are not compared, and the floor
    assert sorted(map(sorted, lines)) == sorted(
        [[(1.0, 10.5), (4.0, 3.0)], [(100.0, 0.1)], [(10.0, 1.0)], [(100.0, 0.1)], [(0.0, 0.5), (1.0, 0.5)]]
    )
    marks = [line for line in steps.lines if line.get_linestyle() == "None"]
    filled = {tuple(xy): line.get_markerfacecolor() != "#ffffff" for line in marks for xy in line.get_xydata()}
    assert filled[4.0, 2.5] and not any(filled[xy] for xy in ((4.0, 3.5), (1.0, 10.0), (10.0, 1.0)))
    places = {float(x) for line in seconds.lines if line.get_marker() != "None" for x in line.get_xdata()}
    assert places == {0.01, 0.04, 0.1, 1.0}


def test_figures_of_several_sweeps_stand_beside_each_other(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name / "fid_vs_steps.csv", FID_FIELDS, [row("ddgan", "gan", T, T, 0) for T in (1, 4)])
    report([tmp_path / "one", tmp_path / "two"], tmp_path / "page")
    assert {p.name for p in (tmp_path / "page").glob("*.png")} == {
        "classifier_frechet_vs_steps-1.png",
        "classifier_frechet_vs_steps-2.png",
    }


def test_a_floor_far_below_is_said_in_words(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    rows = [{"method": "test_images", "classifier_frechet": 0.001}, row("ddgan", "gan", 4, 4, 0)]
    draw(write(tmp_path / "fid_vs_steps.csv", FID_FIELDS, rows), tmp_path)
    ax = drawn["classifier_frechet_vs_steps"].axes[0]
    assert [text.get_text() for text in ax.texts] == ["test images: 0.001 ↓"] and ax.get_ylim()[0] > 0.5


def test_fid_comes_first_where_it_is_known(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    rows = [row("ddgan", "gan", 4, 4, 0, fid=12.0), row("ddgan", "gan", 2, 2, 0)]
    paths = draw(write(tmp_path / "fid_vs_steps.csv", FID_FIELDS, rows), tmp_path)
    assert [p.name for p in paths] == ["fid_vs_steps.png", "classifier_frechet_vs_steps.png"]
    ax = drawn["fid_vs_steps"].axes[0]
    assert ax.get_ylabel().startswith("FID\n") and {float(x) for line in ax.lines for x in line.get_xdata()} == {4.0}


def test_samples_stand_in_a_grid(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    rows = [row("ddgan", d, T, T, 0) for d in ("gan", "hellinger") for T in (4, 1)]
    (tmp_path / "samples").mkdir()
    for i, r in enumerate(rows[:3]):
        imsave(SweepFolder(tmp_path).sample(r), np.full((8, 8, 3), 0.1 * i))
    paths = draw(write(tmp_path / "fid_vs_steps.csv", FID_FIELDS, rows), tmp_path)
    assert paths[-1].name == "samples_ddgan.png"
    shown = [
        [
            round(float(ax.images[0].get_array()[0, 0, 0]), 1) if ax.images else None
            for ax in drawn["samples_ddgan"].axes
        ]
    ]
    assert shown == [[0.1, 0.0, None, 0.2]]  # T = 1 before 4; one picture is missing


def test_two_tests_of_the_same_images_are_one_picture(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    both = row("ddgan", "gan", 4, 4, 0), row("ddgan", "gan", 4, 4, 0, classifier_frechet=None, fid=80.0)
    (tmp_path / "samples").mkdir()
    imsave(SweepFolder(tmp_path).sample(both[0]), np.zeros((8, 8, 3)))
    draw(write(tmp_path / "fid_vs_steps.csv", FID_FIELDS, list(both)), tmp_path)
    (ax,) = drawn["samples_ddgan"].axes
    assert "FID 80" in ax.get_title() and f"classifier_frechet {both[0]['classifier_frechet']:.3g}" in ax.get_title()


def test_the_curve_of_a_training_is_called_as_its_first_test(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    rows = [row("ddpm", "", 100, 100, 0), row("ddpm_ddim", "", 100, 10, 0)]
    curves = [c | {"method": r["method"], "divergence": "", "T": 100} for r in rows for c in curve([4, 3])]
    table = write(tmp_path / "fid_vs_steps.csv", FID_FIELDS, rows)
    write(tmp_path / "curves.csv", CURVE_FIELDS, curves)
    draw(table, tmp_path)
    (legend,) = drawn["training_curves"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["ddpm, T = 100, seed 0"]


@pytest.mark.parametrize("values", [("ddpm", "", 1000, 20, 0), ("ddgan", "gan", 4, 4, 2)])
def test_pictures_are_found_by_the_names_they_were_given(values: tuple[Any, ...]) -> None:
    given, folder = row(*values), SweepFolder(Path("study"))
    assert folder.sample({k: str(v) for k, v in given.items()}) == folder.sample(given)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b\n1,2\n", "no column 'method'"), (",".join(FID_FIELDS) + "\n", "no distance yet"), (None, "does not exist")],
)
def test_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "fid_vs_steps.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FdsrError, match=words):
        draw(path, tmp_path)


def test_report_draws_a_table_on_a_page(
    program: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row("ddgan", "gan", T, T, seed) for T in (1, 4) for seed in (0, 1)]
    rows.append({"method": "test_images", "classifier_frechet": 0.5, "n_generated": 10_000})
    (tmp_path / "samples").mkdir()
    imsave(SweepFolder(tmp_path).sample(rows[0]), np.zeros((8, 8, 3)))
    table = write(tmp_path / "fid_vs_steps.csv", FID_FIELDS, rows)
    assert program("report", table) == 0
    assert f"page:   {tmp_path / 'report.html'}" in capsys.readouterr().out
    html = (tmp_path / "report.html").read_text()
    assert "ddgan gan, T = 1, seed 0, classifier_frechet 10" in html and "classifier_frechet against seconds" in html
    assert (tmp_path / "classifier_frechet_vs_steps.png").exists()
    assert program("report", tmp_path, "--output", tmp_path / "again") == 0  # the sweep's folder
    assert (tmp_path / "again" / "report.html").exists()


def test_report_refuses_a_run_without_results_before_it_writes(program: Callable[..., int], tmp_path: Path) -> None:
    table = write(tmp_path / "fid_vs_steps.csv", FID_FIELDS, [row("ddgan", "gan", 4, 4, 0)])
    (tmp_path / "empty").mkdir()
    assert program("report", tmp_path / "empty", table, "--output", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()
