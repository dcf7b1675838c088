"""The page as text: what stands on it, what it leaves alone, and what it says of runs that are not alike."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, stdev

import pytest
from tested_runs import VARIABLES, write_run, write_runs

from fdsr.errors import FdsrError
from fdsr.records import RunFolder
from fdsr.report.page import render, write_page
from fdsr.report.runs import find_runs, labels, read_run
from fdsr.report.studies import Study, make_studies

VOID = {"meta", "link", "input", "img", "br", "path", "use"}


class Reader(HTMLParser):
    """Checks that elements nest, and keeps addresses, ids and the text of table cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.addresses += [
            found[name] for name in ("src", "href", "xlink:href", "srcset", "poster", "data") if name in found
        ]
        self.references += re.findall(r"url\((#[^)]*)\)", " ".join(found.values()))
        self.ids += [found["id"]] if "id" in found else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.rows and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def study(runs: list[Path]) -> Study:
    (found,) = make_studies([read_run(run) for run in runs])
    return found


@pytest.fixture(scope="module")
def html(study: Study) -> str:
    return render([study], [])


def test_it_is_whole_and_loads_nothing(html: str) -> None:
    page = Reader(html)
    own = {f"#{name}" for name in page.ids}
    assert len(own) == len(page.ids)  # no id twice: figures would take each other's marks
    assert all(a.startswith("data:") or a in own for a in page.addresses) and set(page.references) <= own
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)", html)
    assert 'name="viewport"' in html and "prefers-color-scheme: dark" in html


def test_colours_and_letters_are_the_pages_own(html: str) -> None:
    figures = re.findall(r"<svg.*?</svg>", html, re.S)
    assert len(figures) > 8 and not any(re.search(r"#[0-9a-f]{6}\b(?!\")|font-family|<style", f) for f in figures)
    assert all("var(--ink)" in f for f in figures if "<text" in f)


def test_every_method_stands_in_the_table_with_its_spread(html: str, runs: list[Path]) -> None:
    rows = {row[0]: row[1:] for row in Reader(html).rows if row and row[0] != "method"}
    assert set(rows) == {"bicubic", "ddpm, 8 NFE", "ddpm, 32 NFE", "ddgan"}
    header = next(row for row in Reader(html).rows if row[:2] == ["method", "CRPS"])
    values = [float(read_run(run).values["lsd", "u10"]) for run in runs if run.name == "ddpm-nfe=8"]
    cell = rows["ddpm, 8 NFE"][header.index("LSD (dB)") - 1]  # the last table is u10's
    assert cell.startswith(f"{fmean(values):.4g} ± {stdev(values):.2g}") and len(values) == 3
    assert rows["ddpm, 8 NFE"][-3:] == ["4", "8", "3"] and rows["bicubic"][-3:] == ["1", "0", "1"]
    mae = read_run(runs[0]).values["mae", "u10"]
    assert rows["bicubic"][header.index("CRPS") - 1].startswith(f"{mae:.4g} MAE")


def test_the_best_is_the_best(study: Study) -> None:
    for metric in ("crps", "rmse", "lsd", "coarse_consistency"):
        values = {e.label: study.estimate(e, metric, "t2m").value for e in study.entries}  # type: ignore[union-attr]
        assert study.best(metric, "t2m") == {min(values, key=lambda label: values[label])}
    near = {e.label: v.value for e in study.entries if (v := study.estimate(e, "spread_skill", "t2m"))}
    # noise of any size has the same ratio of spread to skill: these two are equally good
    assert study.best("spread_skill", "t2m") == {"ddpm, 8 NFE", "ddpm, 32 NFE"}
    assert near["ddpm, 8 NFE"] == pytest.approx(near["ddpm, 32 NFE"], rel=1e-4) and "bicubic" not in near
    assert all(abs(near["ddpm, 8 NFE"] - 1) <= abs(value - 1) + 1e-4 for value in near.values())
    relative = study.estimate(study.reference, "crps_relative")
    assert study.reference.label == "bicubic" and relative and relative.value == pytest.approx(1)
    assert relative.stand_in == "mae"


def test_maps_go_from_coarse_to_truth_and_share_pictures(html: str) -> None:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.S)
    atlas = json.loads(text)
    assert [name for name, _ in atlas["layers"]["bicubic"]["t2m"]] == ["coarse", "prediction", "truth"]
    ensemble = atlas["layers"]["ddgan"]["t2m"]
    assert [name for name, _ in ensemble] == ["coarse", "ensemble mean", "member 1", "member 2", "truth"]
    # coarse field and truth are the same for all; the forecast of blocks is the coarse field itself
    assert ensemble[0] == atlas["layers"]["bicubic"]["t2m"][0] and ensemble[-1] == atlas["layers"]["bicubic"]["t2m"][-1]
    assert atlas["layers"]["bicubic"]["t2m"][1][1] == ensemble[0][1]
    assert len(atlas["pictures"]) == len(set(atlas["pictures"])) == len(VARIABLES) * (2 + 3 * 3)


def test_names_and_configurations_are_escaped(tmp_path: Path) -> None:
    name = "a<b>&\"c'"
    run = write_run(tmp_path / name, members=1, nfe=0, error=1.0)
    (run / "config.yaml").write_text("comment: </pre><script>alert(1)</script>\n")
    html = render(make_studies([read_run(run)]), [])
    Reader(html)
    assert "alert(1)&lt;/script&gt;" in html and "<script>alert" not in html and name not in html
    assert "a&lt;b&gt;&amp;&#34;c&#39;" in html


def test_runs_of_other_data_stand_apart(tmp_path: Path, runs: list[Path]) -> None:
    other = write_run(tmp_path / "bicubic", members=1, nfe=0, error=1.0, fingerprint="other")
    fewer = write_run(tmp_path / "fewer", members=1, nfe=0, error=1.0, n_times=1)
    studies = make_studies([read_run(r) for r in (runs[0], other, fewer)])
    assert [(s.fingerprint, s.n_times) for s in studies] == [("abc", 2), ("other", 2), ("abc", 1)]
    html = render(studies, [])
    Reader(html)
    assert "1 time of the split" in html and "support no general claim" in html


def test_synthetic_fields_are_called_so(tmp_path: Path) -> None:
    pages = []
    for synthetic in (True, False):
        run = write_run(tmp_path / str(synthetic), members=1, nfe=0, error=1.0)
        record = json.loads((run / "run.json").read_text())
        record["test"]["synthetic"] = synthetic
        (run / "run.json").write_text(json.dumps(record))
        pages.append(render(make_studies([read_run(run)]), []))
    assert "×4, synthetic" in pages[0] and "synthetic and no weather" in pages[0]
    assert "×4, synthetic" not in pages[1] and "no weather" not in pages[1]


def test_seeds_are_told_from_namesakes(tmp_path: Path) -> None:
    same = [write_run(tmp_path / place / "ddpm", members=2, nfe=4, error=1.0) for place in ("a", "b")]
    (study,) = make_studies([read_run(r) for r in same])
    assert [e.label for e in study.entries] == ["a/ddpm", "b/ddpm"]
    assert list(labels(same).values()) == ["a/ddpm", "b/ddpm"]


def test_runs_by_hand_average_where_they_differ_in_the_seed_alone(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"run{seed}", members=2, nfe=4, error=1.0, seed=seed, method="ddpm") for seed in range(2)
    ]
    (entry,) = make_studies([read_run(r) for r in runs])[0].entries
    assert (entry.label, len(entry.runs)) == ("ddpm", 2)
    config = RunFolder(runs[1]).path / "config.yaml"
    config.write_text(config.read_text() + "model: {init_args: {steps: 4}}\n")
    first, second = make_studies([read_run(r) for r in runs])[0].entries
    assert [e.label for e in (first, second)] == [f"{tmp_path.name}/run{seed}" for seed in range(2)]


def test_axes_of_a_sweep_are_told_where_they_differ(tmp_path: Path) -> None:
    """Whatever the folders are called."""
    runs = [
        write_run(tmp_path / f"{weight}{seed}", members=2, nfe=8, error=1.0, seed=seed, method="fourier",
                  axes={"data": "a-b/c.yaml", "weight": weight, "seed": seed})
        for weight in (1e-05, 0.5) for seed in range(2)
    ]  # fmt: skip
    (study,) = make_studies([read_run(r) for r in runs])
    assert [(e.label, len(e.runs)) for e in study.entries] == [("fourier, weight 1e-05", 2), ("fourier, weight 0.5", 2)]


def test_a_folder_of_a_sweep_stands_for_its_tests(runs: list[Path], tmp_path: Path) -> None:
    folder = runs[0].parent
    (folder / "test_metrics.csv").write_text("method,seed\n")  # the joint table
    try:
        assert find_runs([folder]) == find_runs([folder / "test_metrics.csv"]) == sorted(runs)
        assert find_runs([runs[0], runs[0]]) == runs[:1]
    finally:
        (folder / "test_metrics.csv").unlink()
    with pytest.raises(FdsrError, match=r"has no test_metrics\.csv"):
        find_runs([tmp_path])


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "metric,variable,value\nlsd,t2m,many\n"])
def test_a_broken_table_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    run = write_run(tmp_path / "run", members=1, nfe=0, error=1.0)
    (run / "test_metrics.csv").write_text(text)
    with pytest.raises(FdsrError, match=r"run/test_metrics\.csv' is not the table of a test"):
        read_run(run)


def test_runs_that_have_a_table_alone_are_shown_with_what_they_have(tmp_path: Path) -> None:
    run = write_run(tmp_path / "old", members=3, nfe=4, error=1.0)
    for name in ("run.json", "test_scores.nc", "test_example.nc"):
        (run / name).unlink()
    page = write_page(make_studies([read_run(run)]), [], tmp_path / "out")
    html = page.read_text()
    Reader(html)
    assert (
        "power ratio" not in html
        and "wall time</figcaption>" not in html
        and "Rank histograms" not in html
        and "<output>" not in html
    )
    assert [p.name for p in page.parent.iterdir()] == ["report.html"]


def test_a_resolution_that_is_never_reached_is_infinite_and_has_no_spread(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(seed), members=2, nfe=4, error=1.0, seed=seed, method="ddpm") for seed in range(2)]
    table = runs[0] / "test_metrics.csv"
    lines = table.read_text().splitlines()
    at = lines[0].split(",").index("value")
    changed = [",".join([*c[:at], "inf", *c[at + 1 :]]) if ",effective_resolution," in line else line
               for line in lines for c in [line.split(",")]]  # fmt: skip
    assert changed != lines
    table.write_text("\n".join(changed) + "\n")
    (study,) = make_studies([read_run(run) for run in runs])
    (entry,) = study.entries
    found = study.estimate(entry, "effective_resolution", "t2m")
    assert found is not None and found.value == float("inf") and found.spread is None
    Reader(render([study], []))
