"""Running a sweep: skipping, resuming, failing, tables. The points are small programs, except in the integration tests."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdsr.errors import FdsrError
from fdsr.records import SweepFolder
from fdsr.sweep.sweep import run_sweep
from fdsr.sweep.table import FID_FIELDS

PROGRAM = (sys.executable, str(Path(__file__).with_name("program.py")))
SweepFile = Callable[..., Path]
DDGAN, DDPM = "ddgan-divergence=gan-T={}-seed=0", "ddpm-T=8-seed=0"
HEADER = (
    "method,divergence,T,nfe,seed,fid,fid_test,kid,classifier_frechet,n_generated,n_reference,seconds_per_image,"
    "images_seen,n_parameters,device,commit"
)


def run(path: Path, output: Path, **options: Any) -> Path:
    return run_sweep(path, output, program=PROGRAM, **options)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def calls(folder: Path) -> list[str]:
    path = folder / "calls.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_sweep_leaves_one_tidy_table(sweep_file: SweepFile, tmp_path: Path) -> None:
    table = run(sweep_file(), tmp_path / "out", jobs=2)
    assert table == tmp_path / "out" / "fid_vs_steps.csv" and table.read_text().splitlines()[0] == HEADER
    floor, *found = rows(table)
    assert floor == dict.fromkeys(FID_FIELDS, "") | {
        "method": "test_images", "classifier_frechet": "0.25", "n_generated": "90", "device": "CPU, 1 threads", "commit": "abc",
    }  # fmt: skip
    assert [(r["method"], r["divergence"], r["T"], r["nfe"]) for r in found] == [
        ("ddgan", "gan", "1", "1"), ("ddgan", "gan", "2", "2"), ("ddpm", "", "8", "8"),
        ("ddpm_ddim", "", "8", "2"), ("ddpm_ddim", "", "8", "4"),
    ]  # fmt: skip
    assert found[1] == {
        "method": "ddgan", "divergence": "gan", "T": "2", "nfe": "2", "seed": "0", "fid": "", "fid_test": "", "kid": "",
        "classifier_frechet": "9.0", "n_generated": "100", "n_reference": "", "seconds_per_image": "0.02",
        "images_seen": "96", "n_parameters": "1234", "device": "CPU, 1 threads", "commit": "abc",
    }  # fmt: skip
    assert set((tmp_path / "out" / "samples").iterdir()) == {SweepFolder(table.parent).sample(r) for r in found}
    curves = rows(tmp_path / "out" / "curves.csv")
    assert [(c["step"], c["images_seen"], c["value"]) for c in curves if c["T"] == "1"] == [
        ("1", "32", "8.0"), ("2", "64", "7.0"),
    ]  # fmt: skip
    assert not list((tmp_path / "out").rglob("*partial*"))


def test_finished_points_are_skipped(sweep_file: SweepFile, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(sweep_file(), out, only="ddgan-*T=1*")
    assert calls(out / DDGAN.format(1)) == ["fit", "test"] and not (out / DDPM).exists()
    assert len(rows(out / "fid_vs_steps.csv")) == 2
    table = run(sweep_file(), out)
    assert [calls(out / DDGAN.format(t)) for t in (1, 2)] == [["fit", "test"]] * 2
    before = table.read_bytes()
    table.unlink()  # what is known of finished points is in their folders
    assert run(sweep_file(), out).read_bytes() == before and calls(out / DDPM) == ["fit"]


def test_other_tests_do_not_train_again(sweep_file: SweepFile, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(sweep_file(), out)
    run(sweep_file(lambda c: c["blocks"][1]["evaluations"][1]["grid"].update(nfe=[2, 6])), out)
    assert calls(out / DDPM) == ["fit"] and calls(out / DDPM / "ddpm_ddim-nfe=6") == ["test"]
    assert calls(out / DDPM / "ddpm_ddim-nfe=2") == ["test"] and calls(out / DDGAN.format(1)) == ["fit", "test"]
    assert [r["nfe"] for r in rows(out / "fid_vs_steps.csv") if r["method"] == "ddpm_ddim"] == ["2", "6"]


def test_a_point_trained_with_other_settings_is_not_mixed_up(
    sweep_file: SweepFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(sweep_file(), out, only=DDPM)
    with pytest.raises(FdsrError, match="1 of 1 points failed"):
        run(sweep_file(lambda c: c["fit"].update(steps=5)), out, only=DDPM)
    said = capsys.readouterr().err
    assert "trained with other settings" in said and "changed: steps" in said and calls(out / DDPM) == ["fit"]


def test_one_failure_leaves_the_others_alone(
    sweep_file: SweepFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["blocks"][0]["keys"] = {"fail": "fail"}
        content["blocks"][0]["grid"] = {"T": [1], "fail": [True, False]}
        content["blocks"][1]["settings"] = {"crash": True}

    out = tmp_path / "out"
    with pytest.raises(FdsrError, match="2 of 3 points failed"):
        run(sweep_file(change), out)
    said = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("failed: ")]
    assert said == [
        f"failed: ddgan-T=1-fail=True: this one cannot be (see {out}/ddgan-T=1-fail=True/fit.log)",
        f"failed: {DDPM}: ValueError: out of luck (see {out}/{DDPM}/fit.log)",
    ]
    assert [r["method"] for r in rows(out / "fid_vs_steps.csv")] == ["test_images", "ddgan"]
    # mended, only these two are run again
    run(
        sweep_file(change, lambda c: (c["blocks"][1].pop("settings"), c["blocks"][0]["grid"].update(fail=[False]))), out
    )
    assert calls(out / "ddgan-T=1-fail=False") == ["fit", "test"] and calls(out / DDPM) == ["fit", "fit"]


def test_a_killed_sweep_goes_on(sweep_file: SweepFile, tmp_path: Path) -> None:
    """Killed with all that it started, after the second of the first point's eight steps."""
    path = sweep_file(lambda c: c["fit"].update(steps=8, pause=0.3))
    out, folder = tmp_path / "out", tmp_path / "out" / DDGAN.format(1)
    code = f"from fdsr.sweep.sweep import run_sweep; run_sweep({str(path)!r}, {str(out)!r}, program={PROGRAM!r})"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not (folder / "steps.txt").exists() or len((folder / "steps.txt").read_text().split()) < 2:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    begun = int((folder / "checkpoints" / "last.ckpt").read_text())
    assert 1 <= begun < 8 and not (folder / "fit.done").exists()
    run(path, out, only=DDGAN.format(1))
    steps = [int(s) for s in (folder / "steps.txt").read_text().split()]
    assert calls(folder) == ["fit", "fit", "test"]
    assert steps[-(8 - begun) :] == list(range(begun + 1, 9)) and steps[:begun] == list(range(1, begun + 1))


def test_a_point_at_work_elsewhere_is_left_alone(
    sweep_file: SweepFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process that a killed sweep leaves behind holds its point."""
    import fcntl

    folder = tmp_path / "out" / DDPM
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FdsrError, match="1 of 3 points failed"):
            run(sweep_file(), tmp_path / "out")
    assert "another process is at work" in capsys.readouterr().err and calls(folder) == []
    run(sweep_file(), tmp_path / "out")
    assert calls(folder) == ["fit"]


def test_an_interrupt_stops_what_was_started(sweep_file: SweepFile, tmp_path: Path) -> None:
    path, out = sweep_file(lambda c: c["fit"].update(steps=1000, pause=0.1)), tmp_path / "out"
    code = f"from fdsr.sweep.sweep import run_sweep; run_sweep({str(path)!r}, {str(out)!r}, 2, program={PROGRAM!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 60
        while len(list(out.glob("*/steps.txt"))) < 2:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
    finally:
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert "KeyboardInterrupt" in said and not (out / DDPM).exists()
    before = [p.read_text() for p in sorted(out.glob("*/steps.txt"))]
    time.sleep(0.5)
    assert [p.read_text() for p in sorted(out.glob("*/steps.txt"))] == before


def test_dry_run(sweep_file: SweepFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    run(sweep_file(), out, only=DDGAN.format(1))
    capsys.readouterr()
    run(sweep_file(), out, dry_run=True)
    said = capsys.readouterr().out
    assert f"finished  {DDGAN.format(1)}\nnew       {DDGAN.format(2)}\n" in said
    assert said.count("fdsr fit ") == 2 and said.count("fdsr test ") == 4 and "--model.init_args.timesteps=2" in said
    assert not (out / DDPM).exists() and not (out / DDGAN.format(2)).exists()
    (out / DDGAN.format(1) / "test.done").unlink()
    run(sweep_file(), out, dry_run=True, only=DDGAN.format(1))
    said = capsys.readouterr().out
    assert "fdsr fit " not in said and said.count("fdsr test ") == 1


def test_later_stages_use_what_earlier_ones_trained(sweep_file: SweepFile, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        ddgan, ddpm = content["blocks"]
        mean = "{output}/ddpm-T=8-seed={seed}/checkpoints/last.ckpt"
        content["keys"]["data"] = []
        own = {"mean": {"init_args": {"paths": [mean, 1]}}, "data": "{here}/parts/{data}.yaml"}
        content["blocks"] = [
            ddpm,
            ddgan | {"after": True, "settings": own, "grid": ddgan["grid"] | {"data": ["waves"]}},
        ]

    run(sweep_file(change), tmp_path / "out", jobs=3)
    later = tmp_path / "out" / f"{DDGAN.format(1)}-data=waves"
    first = (later / "calls.txt").read_text()
    assert f'"paths": ["{tmp_path}/out/{DDPM}/checkpoints/last.ckpt", 1]' in first
    assert f" --data={tmp_path}/parts/waves.yaml" in first
    ended = (tmp_path / "out" / DDPM / "ddpm" / "test.done").stat().st_mtime_ns
    assert ended <= (later / "fit.done").stat().st_mtime_ns


def test_what_builds_on_a_training_waits_for_it_and_follows_it(
    sweep_file: SweepFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint is there long before a training's end; and a file that a setting names is part of the settings."""

    def change(content: dict[str, Any]) -> None:
        ddgan, ddpm = content["blocks"]
        own = {"mean": "{output}/ddpm-T=8-seed={seed}/checkpoints/last.ckpt", "data": "{here}/parts.yaml"}
        content["blocks"] = [ddpm, ddgan | {"after": True, "settings": own, "grid": {"T": [1], "seed": [0]}}]

    out, later = tmp_path / "out", "ddgan-T=1-seed=0"
    (tmp_path / "parts.yaml").write_text("factor: 4\n")
    (out / DDPM / "checkpoints").mkdir(parents=True)
    (out / DDPM / "checkpoints" / "last.ckpt").write_text("1")
    with pytest.raises(FdsrError, match="1 of 1 points failed"):
        run(sweep_file(change), out, only=later)
    assert f"it builds on {DDPM}, whose training has not ended" in capsys.readouterr().err and not calls(out / later)
    run(sweep_file(change), out)
    assert calls(out / later) == ["fit", "test"]
    marker = out / later / "fit.done"
    before = json.loads(marker.read_text())
    # as earlier versions left it
    marker.write_text(json.dumps({name: before[name] for name in ("config", "arguments")}))
    run(sweep_file(change, lambda c: c["fit"].update({"trainer.max_time": "00:00:07:00"})), out)
    assert calls(out / later) == ["fit", "test"] and calls(out / DDPM) == ["fit"]
    marker.write_text(json.dumps(before))
    (tmp_path / "parts.yaml").write_text("factor: 8\n")
    with pytest.raises(FdsrError, match="1 of 2 points failed"):
        run(sweep_file(change), out)
    assert "changed: " in capsys.readouterr().err


def test_tables_of_weather_are_joined_with_the_axes(sweep_file: SweepFile, tmp_path: Path) -> None:
    table = run(sweep_file(lambda c: c.update(table="test_metrics")), tmp_path / "out")
    assert table.read_text().splitlines()[:2] == [
        "method,divergence,T,variable,metric,value,nfe,seed", "ddgan,gan,1,t2m,crps,0.1,1,0",
    ]  # fmt: skip
    assert [(r["method"], r["T"], r["nfe"]) for r in rows(table)][2:] == [
        ("ddpm", "8", "8"), ("ddpm_ddim", "8", "2"), ("ddpm_ddim", "8", "4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        ({"jobs": 0}, None, "--jobs is 0"),
        ({"only": "nobody"}, None, "no point is called 'nobody'; the names are ddgan-"),
        ({}, lambda c: c.update(table="fid"), "table 'fid' is unknown; choose one of fid_vs_steps"),
    ],
)
def test_refused(sweep_file: SweepFile, tmp_path: Path, options: dict[str, Any], change: Any, words: str) -> None:
    with pytest.raises(FdsrError, match=words):
        run(sweep_file(*([change] if change else [])), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_line_cut_short_by_a_kill_is_no_result(sweep_file: SweepFile, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(sweep_file(), out, only=DDGAN.format(1))
    with (out / DDGAN.format(1) / "image_distances.jsonl").open("a") as file:
        file.write(json.dumps({"stage": "test", "fid": 1.0})[:-5])
    assert rows(run(sweep_file(), out, only=DDGAN.format(1)))[1]["classifier_frechet"] == "8.0"
