"""What a sweep file means, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdsr.errors import FdsrError
from fdsr.sweep.grid import read_sweep

SweepFile = Callable[..., Path]


def test_points_in_order_with_their_settings(sweep_file: SweepFile) -> None:
    sweep = read_sweep(sweep_file())
    assert [p.name for p in sweep.points] == [
        "ddgan-divergence=gan-T=1-seed=0", "ddgan-divergence=gan-T=2-seed=0", "ddpm-T=8-seed=0",
    ]  # fmt: skip
    first, last = sweep.points[0], sweep.points[-1]
    own = {"data.init_args.batch_size": 4, "model.init_args.divergence": "gan", "model.init_args.timesteps": 1,
           "model.init_args.steps": 1, "seed_everything": 0}  # fmt: skip
    assert first.fit == own | {"steps": 3}
    assert [e.name for e in first.evaluations] == ["."]
    assert first.evaluations[0].settings == own | {"loud": False}
    assert [(e.name, e.method, e.axes, e.settings["model.init_args.steps"]) for e in last.evaluations] == [
        ("ddpm", "ddpm", {"T": 8, "seed": 0}, 8),
        ("ddpm_ddim-nfe=2", "ddpm_ddim", {"T": 8, "seed": 0, "nfe": 2}, 2),
        ("ddpm_ddim-nfe=4", "ddpm_ddim", {"T": 8, "seed": 0, "nfe": 4}, 4),
    ]
    assert last.fit is not None and "sampler" not in last.fit
    assert sweep.axes == ["divergence", "T", "seed", "nfe"]


def test_the_grid_is_a_product_whose_last_axis_runs_fastest(sweep_file: SweepFile) -> None:
    def change(content: dict[str, Any]) -> None:
        content["blocks"] = [content["blocks"][0] | {"grid": {"T": [4, 1], "seed": [0, 1, 2]}}]

    points = read_sweep(sweep_file(change)).points
    assert [(p.axes["T"], p.axes["seed"]) for p in points] == [(t, s) for t in (4, 1) for s in (0, 1, 2)]


def test_a_blocks_own_settings_go_first(sweep_file: SweepFile) -> None:
    point = read_sweep(sweep_file(lambda c: c["blocks"][0].update(fit={"steps": 9}, keys={"seed": "other"}))).points[0]
    assert point.fit is not None and point.fit["steps"] == 9 and point.fit["other"] == 0
    assert "seed_everything" not in point.fit and read_sweep(sweep_file()).points[0].fit != point.fit


def test_nothing_to_train(sweep_file: SweepFile) -> None:
    assert read_sweep(sweep_file(lambda c: c["blocks"][0].update(fit=False))).points[0].fit is None


def test_evaluations_may_have_names(sweep_file: SweepFile) -> None:
    more = {"name": "headline", "settings": {"loud": True}}
    point = read_sweep(sweep_file(lambda c: c["blocks"][0].update(evaluations=[{"name": "curve"}, more]))).points[0]
    assert [(e.name, e.method, e.settings["loud"]) for e in point.evaluations] == [
        ("curve", "ddgan", False), ("headline", "ddgan", True),
    ]  # fmt: skip


def test_a_point_named_twice_counts_once(sweep_file: SweepFile) -> None:
    assert len(read_sweep(sweep_file(lambda c: c["blocks"].append(c["blocks"][0]))).points) == 3
    with pytest.raises(FdsrError, match="twice, with different settings"):
        read_sweep(sweep_file(lambda c: c["blocks"].append(c["blocks"][0] | {"fit": {"steps": 4}})))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(grid={}), "'grid' is unknown; it must be one of extends, table, constants, keys"),
        (lambda c: c.pop("table"), "'table' is missing"),
        (lambda c: c.update(blocks=[]), "at least one block"),
        (lambda c: c.update(blocks={"method": "x"}), "blocks must be a list"),
        (lambda c: c["blocks"].append("ddpm"), "block 3: expected entries"),
        (lambda c: c["blocks"][1].pop("method"), "block 2: 'method' is missing"),
        (lambda c: c["blocks"][1].update(gird={}), "block 2: 'gird' is unknown"),
        (lambda c: c["blocks"][0].update(config="none.yaml"), "none.yaml' does not exist"),
        (lambda c: c["blocks"][0]["grid"].update(width=[8]), "axis 'width' has no configuration key"),
        (lambda c: c["blocks"][0]["grid"].update(T=4), "axis 'T' must have a list"),
        (lambda c: c["blocks"][0]["grid"].update(T=[]), "axis 'T' must have a list"),
        (lambda c: c["blocks"][0].update(grid=[4]), "grid must be entries"),
        (lambda c: c["blocks"][1].update(evaluations={"a": 1}), "evaluations must be a list"),
        (lambda c: c["blocks"][1]["evaluations"].append({"method": "ddpm"}), "called alike"),
    ],
)
def test_refused_with_the_entry_named(
    sweep_file: SweepFile, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    with pytest.raises(FdsrError, match=words) as refused:
        read_sweep(sweep_file(change))
    assert "\n" not in str(refused.value)


def test_not_a_sweep_at_all(tmp_path: Path) -> None:
    for content, words in (("a: [1", "not YAML"), ("", "found NoneType"), ("- 1", "found list")):
        path = tmp_path / "bad.yaml"
        path.write_text(content)
        with pytest.raises(FdsrError, match=words):
            read_sweep(path)
    with pytest.raises(FdsrError, match="does not exist"):
        read_sweep(tmp_path / "nowhere.yaml")


def test_a_sweep_that_extends_another(sweep_file: SweepFile, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content |= {"constants": {"long": 3, "args": {"width": 64}}, "fit": {"steps": "{long}", "kept": True}}
        content["blocks"][0]["settings"] = {"args": "{args}", "path": "{long}/x"}

    base = sweep_file(change)
    small = base.with_name("small.yaml")
    small.write_text(f"extends: {base.name}\nconstants: {{args: {{width: 8}}}}\nfit: {{other: 1}}\n")
    large, little = (read_sweep(path).points for path in (base, small))
    assert [p.name for p in large] == [p.name for p in little]
    assert large[0].fit is not None and little[0].fit is not None
    assert large[0].fit["steps"] == little[0].fit["steps"] == 3 and large[0].fit["path"] == "{long}/x"
    assert (large[0].fit["args"], little[0].fit["args"]) == ({"width": 64}, {"width": 8})
    assert little[0].fit["kept"] is True and little[0].fit["other"] == 1 and "other" not in large[0].fit

    (tmp_path / "elsewhere").mkdir()
    elsewhere = tmp_path / "elsewhere" / "mine.yaml"
    elsewhere.write_text(f"extends: ../{base.name}\n")
    assert read_sweep(elsewhere).points[0].config.resolve() == large[0].config.resolve()

    small.write_text("extends: none.yaml\n")
    with pytest.raises(FdsrError, match=r"extends: sweep '.*none.yaml' does not exist"):
        read_sweep(small)
    small.write_text("extends: small.yaml\n")
    with pytest.raises(FdsrError, match=r"'small.yaml' extends this file in turn"):
        read_sweep(small)
