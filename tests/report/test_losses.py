"""Losses on the page: one curve a training, whatever was tested of it."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
from tested_runs import write_run

from fdsr.drawing.png import save_panels
from fdsr.records import RunFolder
from fdsr.report.figures.losses import LOSSES, draw_losses, find_losses, loss_curves, read_losses
from fdsr.report.page import render
from fdsr.report.runs import read_run
from fdsr.report.studies import make_studies


def write_losses(folder: Path, values: list[float]) -> None:
    lines = [{"step": 50 * i + 49, "train_loss": v, "epoch": 0} for i, v in enumerate(values)]
    lines += [{"step": 50 * len(values) - 1, "val_loss": values[-1] + 1.0, "epoch": 0}]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_training_draws_one_curve_and_a_test_none(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "bicubic", members=1, nfe=0, error=1.0)]
    for method, level in (("ddpm", 2.0), ("fourier", 3.0)):
        for seed in range(2):
            training = tmp_path / f"{method}-seed={seed}"
            for nfe in (8, 32):
                test = training / f"{method}-nfe={nfe}"
                axes = {"seed": seed, "nfe": nfe}
                runs.append(write_run(test, members=3, nfe=nfe, error=1.0, seed=seed, method=method, axes=axes))
                (test / "metrics.jsonl").write_text(json.dumps({"step": 0, "fdsr/lsd/u10": 1.0}) + "\n")
            write_losses(training, [level + seed + 10.0 * (i % 2) for i in range(60)])
    (study,) = make_studies([read_run(run) for run in runs])
    ((training, validation),) = LOSSES.rows(study)
    # 60 values and their neighbours: the mean of two seeds and of high and low
    assert training.alt == "ddpm, 8 NFE: 7.5 after 2999 steps; fourier, 8 NFE: 8.5 after 2999 steps"
    assert validation.alt == "ddpm, 8 NFE: 13.5 after 2999 steps; fourier, 8 NFE: 14.5 after 2999 steps"
    assert save_panels(LOSSES.rows(study), tmp_path / "losses.png").stat().st_size > 5000
    assert find_losses(study.entries[0].runs[0]) is None
    assert "Losses in training" in render([study], [])
    (alone,) = make_studies([read_run(run) for run in runs[:3]])
    assert LOSSES.rows(alone) == [] and "Losses in training" not in render([alone], [])


def test_a_resumed_and_a_killed_training_are_read(tmp_path: Path) -> None:
    write_losses(tmp_path, [3.0, 2.0, 1.0])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 149, "train_loss": 0.5}) + "\n" + '{"step": 199, "train_')
    assert read_losses(RunFolder(tmp_path).metrics, "train_loss").to_dict() == {49: 3.0, 99: 2.0, 149: 0.5}
    assert read_losses(RunFolder(tmp_path).metrics, "absent").empty


def test_losses_of_a_likelihood_may_be_negative(tmp_path: Path) -> None:
    runs = []
    for method, level in (("gaussian", -0.5), ("squared", 1.0)):
        runs.append(write_run(tmp_path / method, members=1, nfe=1, error=1.0, method=method))
        write_losses(tmp_path / method, [level] * 10)
    (study,) = make_studies([read_run(run) for run in runs])
    figure, axes = plt.subplots()
    draw_losses(axes, loss_curves(study)["training loss"], "training loss")
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] < -0.5
    plt.close(figure)
