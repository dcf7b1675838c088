"""The main job on the embedded sample, start to finish: every step is a command that a user could type.

Run by `make demo`. A step whose result exists is skipped, so an interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fdsr.records import RunFolder

RUNS = Path("runs/demo")
METHODS = ("bicubic", "bicubic_dressed", "regression", "fourier_sr")  # in the order of the table


def steps() -> list[tuple[list[str], Path]]:
    """(command, the file that shows it was done)."""
    out: list[tuple[list[str], Path]] = []
    for name in METHODS:
        folder = RunFolder(RUNS / name)
        common = ["--config", f"experiments/{name}.yaml", "--run", str(folder)]
        if name != "bicubic":
            # a fit that was cut off is continued from its last checkpoint
            resume = ["--ckpt_path", "last"] if folder.last_checkpoint.exists() else []
            out.append((["fit", *common, *resume], folder.fitted.path))
        out.append((["test", *common], folder.table.path))
    fourier = RunFolder(RUNS / "fourier_sr")
    # one time: the test has made the others already
    predict = ["predict", "--config", "experiments/fourier_sr.yaml", "--run", str(fourier)]
    predict += ["--output", str(fourier.prediction), "--trainer.limit_predict_batches", "1"]
    out.append((predict, fourier.prediction))
    return out


def main() -> int:
    from fdsr.cli import main as fdsr

    begin = time.monotonic()
    for command, result in steps():
        if result.exists():
            continue
        minutes, seconds = divmod(int(time.monotonic() - begin), 60)
        print(f"\n[{minutes:02d}:{seconds:02d}] $ fdsr {' '.join(command)}", flush=True)
        status = fdsr(command)
        if status:
            return status
        if not result.exists():
            result.touch()
    print(f"\n$ fdsr report {' '.join(str(RUNS / m) for m in METHODS)}", flush=True)
    status = fdsr(["report", *(str(RUNS / m) for m in METHODS)])
    print(f"zarr:   {RunFolder(RUNS / 'fourier_sr').prediction}")
    return status


if __name__ == "__main__":
    sys.exit(main())
