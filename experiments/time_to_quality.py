"""How good a method is after so many seconds of training: scores in training of a sweep's points, against what these took.

    python experiments/time_to_quality.py RUNS BICUBIC OUTPUT

RUNS: the folder of a sweep whose trainings score themselves (time_to_quality_cpu.yaml). BICUBIC: the run of a test of bicubic
interpolation on the same archive, whose mean absolute error is the unit of CRPS. A second stage's seconds begin where its first
stage's end; what it costs to score is left out. Writes time_to_quality.csv (method, step, seconds, CRPS over bicubic's error and LSD
in dB, means over variables) and .png, and prints when each method is as good as `ddpm` at its end.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import yaml

from fdsr.drawing.axes import log_axis
from fdsr.drawing.png import picture
from fdsr.drawing.style import make_looks
from fdsr.records import RunFolder

REFERENCE = "ddpm"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", type=Path)
    parser.add_argument("bicubic", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args(argv)
    unit = errors(RunFolder(options.bicubic))
    curves = pd.concat([c for run in RunFolder.below(options.runs) if len(c := curve(run, unit))], ignore_index=True)
    options.output.mkdir(parents=True, exist_ok=True)
    curves.to_csv(options.output / "time_to_quality.csv", index=False, float_format="%.4g")
    draw(curves, options.output / "time_to_quality.png")
    for line in arrivals(curves):
        print(line)


def errors(run: RunFolder) -> dict[str, float]:
    """Variable → mean absolute error of a tested deterministic method."""
    return {row["variable"]: float(row["value"]) for row in run.table.read() if row["metric"] == "mae"}


def curve(run: RunFolder, unit: dict[str, float]) -> pd.DataFrame:
    """step, seconds, crps, lsd of one training; empty where it did not score itself."""
    lines = pd.DataFrame(run.metrics.read())
    if not {"train_seconds", *(f"fdsr/crps/{v}" for v in unit)} <= set(lines):
        return pd.DataFrame()
    # what a resumed training logged twice counts once
    by_step = lines.groupby("step").last()
    found = pd.DataFrame(
        {
            "seconds": by_step["train_seconds"] + before(run),
            "crps": sum(by_step[f"fdsr/crps/{v}"] / mae for v, mae in unit.items()) / len(unit),
            "lsd": sum(by_step[f"fdsr/lsd/{v}"] for v in unit) / len(unit),
        }
    ).dropna()
    return found.reset_index().assign(method=run.point["method"])


def before(run: RunFolder) -> float:
    """Seconds that the first stage behind a training took; 0 where there is none."""
    checkpoint = yaml.safe_load(run.config())["model"]["init_args"].get("regression_ckpt")
    if not checkpoint:
        return 0.0
    first = RunFolder(run.path.parent / Path(checkpoint).parents[1].name)
    return float(first.record.read()["fit"]["seconds"])


def draw(curves: pd.DataFrame, path: Path) -> None:
    """CRPS and LSD against seconds."""
    looks = make_looks({method: method for method in sorted(set(curves["method"]))}, order=[REFERENCE])
    with picture(path, 8.5, 4.2) as figure:
        axes = figure.subplots(1, 2)
        for ax, score, words in zip(axes, ("crps", "lsd"), ("CRPS over bicubic's error", "LSD (dB)"), strict=True):
            for method, look in looks.items():
                own = curves[curves["method"] == method]
                ax.plot(own["seconds"], own[score], label=method, marker=look.marker, **look.line)
            log_axis(ax, "x")
            log_axis(ax, "y")
            ax.set(xlabel="seconds of training", ylabel=words)
        figure.legend(handles=axes[0].get_lines(), loc="outside lower center", ncols=4)


def arrivals(curves: pd.DataFrame) -> Iterator[str]:
    """When each method came to the scores that `ddpm` had at its end."""
    reference = curves[curves["method"] == REFERENCE]
    if not len(reference):
        return
    end = reference.iloc[-1]
    for method, own in curves.groupby("method"):
        when = {s: own.loc[own[s] <= end[s], "seconds"].min() for s in ("crps", "lsd")}
        words = ", ".join(f"{s} {'not' if pd.isna(t) else f'after {t:.0f} s'}" for s, t in when.items())
        last = own.iloc[-1]
        yield f"{method}: {words}; ends at {last['crps']:.3f}, {last['lsd']:.2f} dB after {last['seconds']:.0f} s"


if __name__ == "__main__":
    main()
