"""Whether speed costs accuracy: a short training of the main job with and without what makes it fast, for three seeds.

    python tests/benchmarks/bench_quality.py [--output FOLDER] [--steps N] [--seeds 0 1 2]

Plain: AdamW parameter by parameter, transforms by FFT, weights in the default memory layout. Fast: as shipped.
Both see the same batches and noise. Writes quality.csv with the validation loss of the last weights (without averaging).
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml

from fdsr.data import WeatherDataModule
from fdsr.diffusion import axes
from fdsr.modules import FourierDDPMModule
from fdsr.modules.settings import build
from fdsr.records import code_version, device_name

ROOT = Path(__file__).parents[2]


class PlainModule(FourierDDPMModule):
    """The method without its optimisations."""

    def build(self, codec: Any) -> None:
        super().build(codec)
        self.network.to(memory_format=torch.contiguous_format)

    def configure_optimizers(self) -> Any:
        chosen = super().configure_optimizers()
        for group in chosen["optimizer"].param_groups:
            group |= {"fused": False, "foreach": False}
        return chosen


def validation_loss(method: type[FourierDDPMModule], seed: int, steps: int, folder: str) -> tuple[float, float]:
    """Validation loss after `steps` steps, and the mean training loss of the last fifty."""
    part = yaml.safe_load((ROOT / "experiments/parts/era5_sample.yaml").read_text())["init_args"]
    settings = yaml.safe_load((ROOT / "experiments/fourier_sr.yaml").read_text())["model"]["init_args"]
    data = WeatherDataModule(**part | {"source": str(ROOT / part["source"]), "seed": seed})
    module = build(method, settings | {"seed": seed}, "fourier_sr.yaml")
    losses: list[float] = []

    class Recorder(L.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *args: Any) -> None:
            losses.append(float(outputs["loss"]))

    trainer = L.Trainer(
        max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False, enable_model_summary=False,
        default_root_dir=folder, callbacks=[Recorder()], use_distributed_sampler=False, limit_val_batches=0,
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
    )  # fmt: skip
    trainer.fit(module, data)
    trainer = L.Trainer(logger=False, default_root_dir=folder, use_distributed_sampler=False)
    (found,) = trainer.validate(module, data, verbose=False)
    return found["val_loss"], sum(losses[-50:]) / len(losses[-50:])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=ROOT / "experiments/results/speed")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(argv)
    options.output.mkdir(parents=True, exist_ok=True)
    device = device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    matrix_length = axes.MATRIX_LENGTH
    with (options.output / "quality.csv").open("w", newline="") as file, tempfile.TemporaryDirectory() as folder:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("seed", "variant", "steps", "val_loss", "train_loss", "device", "commit"))
        for seed in options.seeds:
            for variant, method, length in (("plain", PlainModule, 0), ("fast", FourierDDPMModule, matrix_length)):
                axes.MATRIX_LENGTH = length
                val, train = validation_loss(method, seed, options.steps, folder)
                writer.writerow((seed, variant, options.steps, f"{val:.5f}", f"{train:.5f}", device, code_version()))
                file.flush()
                print(f"seed {seed} {variant:6} validation loss {val:.5f}, training loss {train:.5f}")


if __name__ == "__main__":
    main()
