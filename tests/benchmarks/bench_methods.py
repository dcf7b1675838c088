"""What a training step of each method costs beside one of plain DDPM with equally many network evaluations.

    python tests/benchmarks/bench_methods.py [--output FOLDER] [--rounds N]

The embedded ERA5 sample, the network of experiments/fourier_sr.yaml, patches of 48 x 48. The reference loss evaluates its
network twice a sample and therefore gets half the samples. Methods take turns; the ratio is the median of the ratios of
neighbouring steps, in processor time on a CPU. Writes methods.csv.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from timing import seconds
from torch.utils.data import default_collate
from tqdm import tqdm

from fdsr.data import WeatherDataModule
from fdsr.diffusion import Cosine, FourierReferenceLoss, RealFourier, SpectralWeightedLoss
from fdsr.modules import DDPMModule, FourierDDPMModule
from fdsr.modules.seeding import generator
from fdsr.records import code_version, device_name

ROOT = Path(__file__).parents[2]
COLUMNS = ("method", "evaluations_per_step", "overhead_percent", "quartiles_percent", "rounds", "device", "commit")
METHODS: dict[str, tuple[type[DDPMModule], dict[str, Any], int]] = {  # class, settings, network evaluations a sample
    "ddpm": (DDPMModule, {}, 1),
    "fourier coloured, fourier": (FourierDDPMModule, {"transform": RealFourier()}, 1),
    "fourier coloured, cosine": (FourierDDPMModule, {"transform": Cosine()}, 1),
    "fourier weighted": (DDPMModule, {"loss": SpectralWeightedLoss()}, 1),
    "fourier reference": (DDPMModule, {"loss": FourierReferenceLoss()}, 2),
}


def training_step(module: DDPMModule, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
    rng = generator(module.device, 0, "benchmark")

    def step() -> None:
        optimiser.zero_grad()
        module.loss(batch, rng).backward()
        optimiser.step()

    return step


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=ROOT / "experiments/results/speed")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--evaluations", type=int, default=8, help="network evaluations a step")
    options = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = yaml.safe_load((ROOT / "experiments/parts/era5_sample.yaml").read_text())["init_args"]
    data = WeatherDataModule(**settings | {"source": str(ROOT / settings["source"])})
    data.prepare_data()
    data.setup("fit")
    network = yaml.safe_load((ROOT / "experiments/fourier_sr.yaml").read_text())["model"]["init_args"]["backbone_args"]

    steps = {}
    for name, (method, arguments, evaluations) in METHODS.items():
        module = method(backbone_args=network, **arguments)
        module.attach(data.spec)
        module.to(device)
        patches = next(iter(data.train_dataloader()))
        samples = [{k: v[i % len(v)] for k, v in patches.items()} for i in range(options.evaluations // evaluations)]
        batch = {k: v.to(device) for k, v in default_collate(samples).items()}
        steps[name] = training_step(module, batch)

    for step in steps.values():
        step()
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    for _ in tqdm(range(options.rounds)):
        before = seconds(steps["ddpm"], device)
        for name, step in steps.items():
            taken = seconds(step, device)
            after = seconds(steps["ddpm"], device)
            ratios[name].append(2 * taken / (before + after))
            before = after

    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "methods.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, values in ratios.items():
            low, middle, high = (100 * (q - 1) for q in statistics.quantiles(values, n=4))
            writer.writerow(
                (
                    name,
                    options.evaluations,
                    f"{middle:.2f}",
                    f"{low:.2f} to {high:.2f}",
                    options.rounds,
                    device_name(device),
                    code_version(),
                )
            )
            print(f"{name:28} {middle:+6.2f} %  (quartiles {low:+.2f} to {high:+.2f})")


if __name__ == "__main__":
    main()
