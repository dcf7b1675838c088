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
FOURIER = RunFolder(RUNS / "fourier_sr")
LAST_WORDS = f"""ensemble: {FOURIER.prediction} (xarray.open_zarr opens it)

Next: look at the figure, open the page in a browser, then
  . .venv/bin/activate
  fdsr predict --config experiments/fourier_sr_long.yaml --ckpt_path experiments/pretrained/fourier_sr_x4
                          # the last method again, with weights that were trained longer
  fdsr prepare --help     # pairs from your own data; data/preparing.md has examples
"""


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
    # one time: the test has made the others already
    predict = ["predict", "--config", "experiments/fourier_sr.yaml", "--run", str(FOURIER)]
    predict += ["--output", str(FOURIER.prediction), "--trainer.limit_predict_batches", "1"]
    out.append((predict, FOURIER.prediction))
    return out


def main() -> int:
    commands = steps()
    left = [(number, *step) for number, step in enumerate(commands, 1) if not step[1].exists()]
    done = f"; {len(commands) - len(left)} are done already" if len(left) < len(commands) else ""
    print(
        f"{len(METHODS)} methods on one week of ERA5 in {len(commands)} commands: nine to twelve minutes on two cores{done}."
    )
    print("Ctrl-C stops, and 'make demo' goes on from there.", flush=True)

    from fdsr.cli import main as fdsr

    begin = time.monotonic()
    for number, command, result in left:
        minutes, seconds = divmod(int(time.monotonic() - begin), 60)
        print(f"\n[{number}/{len(commands)}, {minutes:02d}:{seconds:02d}] $ fdsr {' '.join(command)}", flush=True)
        status = fdsr(command)
        if status:
            return status
        if not result.exists():
            result.touch()
    runs = [str(RUNS / method) for method in METHODS]
    print(f"\n$ fdsr report {' '.join(runs)}", flush=True)
    status = fdsr(["report", *runs])
    if status == 0:
        print(LAST_WORDS, end="")
    return status


if __name__ == "__main__":
    sys.exit(main())
