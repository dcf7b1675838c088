"""The table of a search for a GAN's settings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from synthetic import TINY_DDGAN

from fdsr.records import RunFolder, Table

SCRIPT = Path(__file__).parents[2] / "experiments" / "search_table.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("search_table", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_finished_point_is_a_row(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gan.yaml").write_text("{}")
    grid = {"divergence": ["gan"], "T": [2], "seed": [0]}
    heavy = {"width": 16, "multipliers": [1, 4, 4]}
    sweep = {
        "table": "fid_vs_steps",
        "keys": {"divergence": "model.init_args.divergence", "T": "model.init_args.timesteps", "seed": "seed_everything"},
        "settings": {"data.init_args.batch_size": 4, **{f"model.init_args.{k}": v for k, v in TINY_DDGAN.items()}},
        "blocks": [
            {"method": name, "config": "gan.yaml", "grid": grid, "settings": settings}
            for name, settings in (("base", {}), ("heavy", {"model.init_args.discriminator_args": heavy}), ("left", {}))
        ],
    }  # fmt: skip
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    for name, distance in (("base", 3.0), ("heavy", 2.0)):
        run = RunFolder(tmp_path / "runs" / f"{name}-divergence=gan-T=2-seed=0")
        run.distances.append({"stage": "test", "classifier_frechet": distance, "n_generated": 9, "commit": "abc"})
        run.record.write({"fit": {"steps": 100, "samples_seen": 400}})
        # early judgements do not count; a late one may lack a time that was not drawn
        for step, facts in ((9, {"d_accuracy_t1": 0.0}), (79, {"d_accuracy_t1": 0.8, "d_accuracy_t2": 0.5, "d_loss": 1.0}),
                            (99, {"d_accuracy_t1": 0.6, "d_loss": 2.0}), (100, {"probe/gain": 0.25})):  # fmt: skip
            run.metrics.append({"step": step, **facts})
    script.main(
        [str(tmp_path / "search.yaml"), str(tmp_path / "runs"), "--output", str(tmp_path / "t.csv"), "--rounds", "2"]
    )
    best, base = Table(tmp_path / "t.csv").read()
    assert [best["method"], base["method"]] == ["heavy", "base"]
    assert {k: base[k] for k in ("T", "images_seen", "accuracy_t1", "accuracy_t2", "d_loss", "gain")} == {
        "T": "2", "images_seen": "400", "accuracy_t1": "0.7", "accuracy_t2": "0.5", "d_loss": "1.5", "gain": "0.25",
    }  # fmt: skip
    seconds = script.step_seconds(script.read_sweep(tmp_path / "search.yaml").points[:2], 2)
    assert 0 < seconds[0] < seconds[1]
    assert "| method | classifier_frechet |" in capsys.readouterr().out
