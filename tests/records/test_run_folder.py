"""One class knows a run's files: nobody else spells their names, and each is written whole and read in one way."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.records import JSONLines, JSONObject, NetCDF, RunFolder, Table, join_tables

ROOT = Path(__file__).parents[2]


def spelled(path: Path) -> list[str]:
    """Texts of a module, without those that document it."""
    tree = ast.parse(path.read_text())
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [text.value for text in texts if id(text) not in documented]


def test_nobody_else_spells_the_names() -> None:
    source = ROOT / "fdsr" / "records" / "run_folder.py"
    suffixes = (".json", ".jsonl", ".csv", ".nc", ".yaml", ".ckpt", ".zarr", ".done")
    names = {text for text in spelled(source) if Path(text).suffix in suffixes}
    known = {"run.json", "metrics.jsonl", "config.yaml", "test_metrics.csv", "test_scores.nc", "last.ckpt"}
    assert names >= known | {"prediction.zarr", "image_distances.jsonl"}
    others = [p for p in (ROOT / "fdsr").rglob("*.py") if p != source]
    others += [ROOT / "experiments" / name for name in ("demo.py", "signal_to_noise.py")]
    found = {(str(p.relative_to(ROOT)), name) for p in others for text in spelled(p) for name in names if name in text}
    assert found == set()


def test_a_record_keeps_its_stages_and_its_place_in_a_sweep(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "sweep" / "point")
    assert run.method("ddpm") == "ddpm" and run.record.read() == {} == run.point
    run.describe("ddgan", {"T": 4, "rate": 1e-05, "data": "a/b.yaml"})
    run.begin("fit", {"seed": 1, "steps": 0}, "of: training\n")
    run.add("fit", {"steps": 7})
    run.begin("test", {"seed": 1}, "of: test\n")
    assert run.method("ddpm") == "ddgan" and run.point["axes"] == {"T": 4, "rate": 1e-05, "data": "a/b.yaml"}
    assert run.record.read()["fit"] == {"seed": 1, "steps": 7} and run.config() == "of: test\n"
    run.begin("fit", {"seed": 2}, "of: training, again\n")
    assert list(run.history()) == ["point", "fit", "test"] and run.record.read()["fit"] == {"seed": 2}
    # a test below the training shows its own place and the training's record
    below = RunFolder(run.path / "ddim-nfe=8")
    below.describe("ddim", {"nfe": 8})
    below.begin("test", {"seed": 3}, "of: another test\n")
    history = below.history()
    assert (history["fit"], history["test"], history["point"]["method"]) == ({"seed": 2}, {"seed": 3}, "ddim")
    assert [r.path for r in RunFolder.below(tmp_path)] == [run.path, below.path]
    assert not list(tmp_path.rglob("*partial*"))


def test_a_test_alone_has_one_configuration(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.config() == ""
    run.begin("test", {}, "first\n")
    assert (tmp_path / "config.yaml").read_text() == run.config() == "first\n"


def test_pictures_are_in_the_order_of_their_steps(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.last_picture("test") is None
    for of, step in (("test", 900), ("test", 10_000), ("fit", 20_000)):
        path = run.picture(of, step)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert run.last_picture("test") == run.picture("test", 10_000)


def test_lines_survive_a_kill(tmp_path: Path) -> None:
    lines = JSONLines(tmp_path / "new" / "lines.jsonl")
    assert lines.read() == []
    lines.append({"step": 0, "loss": 1.0})
    with lines.path.open("a") as file:
        file.write('{"step": 1, "lo')
    assert lines.read() == [{"step": 0, "loss": 1.0}]
    lines.append({"step": 1, "name": "Fréchet"})
    assert lines.read() == [{"step": 0, "loss": 1.0}, {"step": 1, "name": "Fréchet"}]


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_what_is_no_object_is_refused_with_the_mend(tmp_path: Path, text: str) -> None:
    values = JSONObject(tmp_path / "values.json", "make it again")
    values.path.write_bytes(text.encode("latin1"))
    with pytest.raises(FdsrError, match=r"values\.json' is .*; make it again"):
        values.read()


def test_tables_are_joined_with_what_tells_them_apart(tmp_path: Path) -> None:
    one, two, both = (Table(tmp_path / f"{name}.csv") for name in ("one", "two", "both"))
    one.write([{"method": "a", "metric": "crps", "value": 0.5, "seed": 1}])
    two.write([{"method": "b", "metric": "crps", "value": None, "seed": 2, "more": "x,y"}])
    join_tables([(one, "a", {"T": 4, "seed": 1}), (two, "b", {"seed": 2, "w": 1e-05})], ["T", "seed", "w"], both)
    assert both.path.read_bytes().decode() == (
        'method,T,w,metric,value,seed,more\na,4,,crps,0.5,1,\nb,,1e-05,crps,,2,"x,y"\n'
    )
    assert both.read()[0] == {
        "method": "a",
        "T": "4",
        "w": "",
        "metric": "crps",
        "value": "0.5",
        "seed": "1",
        "more": "",
    }


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = NetCDF(tmp_path / "new" / "arrays.nc")
    assert file.read() is None
    ds = xr.Dataset({"power": ("ring", np.array([1.0, np.nan]))}, coords={"scored": ("ring", [True, False])})
    file.write(ds)
    found = file.read()
    xr.testing.assert_identical(found, ds)
    file.write(ds + 1)  # nobody holds the old one open
    assert float(file.read().power[0]) == 2.0  # type: ignore[union-attr]


def test_every_file_stands_in_the_folder(tmp_path: Path) -> None:
    """What a run is to leave besides is one more line of the class, and a file of one of the kinds."""
    files = {name: f for name, f in vars(RunFolder(tmp_path)).items() if not isinstance(f, Path)}
    assert len({f.path for f in files.values()}) == len(files) >= 10
    assert all(f.path.parent == tmp_path and not f.exists() for f in files.values())
