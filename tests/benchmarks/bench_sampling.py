"""How long an image or a member takes by each sampler, in one run: the generators of the studies, with weights not trained.

    python tests/benchmarks/bench_sampling.py [--output FOLDER] [--rounds N] [--images SWEEP.yaml] [--weather SWEEP.yaml]

Networks and samplers are those of the sweeps' points, the same width for all. Samplers take turns; the ratio to DDGAN T = 4 is
the median over rounds of the ratio within a round, and `least` and `most` are the range of these, in processor time on a CPU; `by_round`
has the milliseconds of every round, for other ratios. Writes sampling.csv.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import reduce
from pathlib import Path
from typing import Any

import torch
import yaml
from timing import seconds
from tqdm import tqdm

from fdsr import modules
from fdsr.data import WeatherDataModule
from fdsr.data.image_spec import ImageSpec
from fdsr.modules.settings import build
from fdsr.records import code_version, device_name
from fdsr.sweep.grid import read_sweep

ROOT = Path(__file__).parents[2]
COLUMNS = (
    "study",
    "method",
    "T",
    "nfe",
    "milliseconds",
    "by_round",
    "times_ddgan",
    "least",
    "most",
    "drawn_at_once",
    "rounds",
    "device",
    "commit",
)
IMAGES = ImageSpec(1, 28, 28, 32)
Draw = Callable[[], object]


def contestants(sweep: str, patterns: list[str], spec: Any, device: torch.device) -> Iterator[tuple[str, Any, Any]]:
    """(method, T, module) of the points' evaluations, one for each method and number of evaluations."""
    seen = set()
    for point in read_sweep(ROOT / sweep).points:
        if not any(fnmatch(point.name, pattern) for pattern in patterns):
            continue
        for evaluation in point.evaluations:
            model = yaml.safe_load(point.config.read_text())["model"]
            for key, value in evaluation.settings.items():
                if key.startswith("model."):
                    *above, last = key.split(".")[1:]
                    reduce(lambda place, name: place.setdefault(name, {}), above, model)[last] = value
            method = getattr(modules, model["class_path"].rpartition(".")[2])
            module = build(method, model["init_args"], point.name)
            key = (evaluation.method, module.evaluations_per_member)
            if key not in seen:
                seen.add(key)
                module.attach(spec)
                yield evaluation.method, module.hparams.get("timesteps", ""), module.eval().to(device)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=ROOT / "experiments/results/speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=50, help="images drawn at once")
    parser.add_argument("--members", type=int, default=4, help="members drawn at once")
    parser.add_argument("--studies", nargs="+", choices=("images", "weather"), default=["images", "weather"])
    parser.add_argument("--images", default="experiments/sweep_T_cpu.yaml")
    parser.add_argument("--weather", default="experiments/compare_weather_cpu.yaml")
    options = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    studies = {"images": (options.batch, images), "weather": (options.members, weather)}
    for study in options.studies:
        count, draws = studies[study]
        rows += [
            {"study": study, "drawn_at_once": count} | row
            for row in measure(draws(options, device), count, options.rounds, device)
        ]
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "sampling.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"rounds": options.rounds, "device": device_name(device), "commit": code_version()})
            print(
                f"{row['study']:8} {row['method']:18} T {row['T']!s:5} NFE {row['nfe']:5} {row['times_ddgan']:>8} times "
                f"({row['least']} to {row['most']})"
            )


def images(options: argparse.Namespace, device: torch.device) -> list[tuple[str, Any, int, Draw]]:
    chosen = ["ddgan-divergence=gan-T=4-*", "ddpm-T=1000-*"]
    return [
        (method, T, module.evaluations_per_member, lambda m=module: m.sample_images(range(options.batch), 0))  # type: ignore[misc]
        for method, T, module in contestants(options.images, chosen, IMAGES, device)
    ]


def weather(options: argparse.Namespace, device: torch.device) -> list[tuple[str, Any, int, Draw]]:
    settings = yaml.safe_load((ROOT / "experiments/parts/era5_sample.yaml").read_text())["init_args"]
    data = WeatherDataModule(**settings | {"source": str(ROOT / settings["source"])})
    data.prepare_data()
    data.setup("test")
    batch = {k: v.to(device) for k, v in next(iter(data.test_dataloader())).items()}
    batch = {k: v[:1] for k, v in batch.items()}
    others = ("ddpm", "ddpm_ddim", "ddpm_spectral_local", "onepass_local")
    chosen = ["ddgan-data=era5_sample-T=4-seed=0", *(f"{name}-data=era5_sample-seed=0" for name in others)]
    return [
        (method, T, module.evaluations_per_member, lambda m=module: m.generate(batch, options.members))  # type: ignore[misc]
        for method, T, module in contestants(options.weather, chosen, data.spec, device)
    ]


def measure(draws: list[tuple[str, Any, int, Draw]], count: int, rounds: int, device: torch.device) -> Iterator[dict]:
    for method, _, nfe, draw in draws:
        if method == "ddgan" or nfe < 100:
            draw()  # warm caches
    taken = [[seconds(draw, device) for *_, draw in draws] for _ in tqdm(range(rounds))]
    reference = next(i for i, (method, *_) in enumerate(draws) if method == "ddgan")
    for i, (method, T, nfe, _) in enumerate(draws):
        ratios = [t[i] / t[reference] for t in taken]
        yield {
            "method": method, "T": T, "nfe": nfe,
            "milliseconds": f"{1000 * statistics.median(t[i] for t in taken) / count:.4g}",
            "by_round": " ".join(f"{1000 * t[i] / count:.4g}" for t in taken),
            "times_ddgan": f"{statistics.median(ratios):.4g}", "least": f"{min(ratios):.4g}", "most": f"{max(ratios):.4g}",
        }  # fmt: skip


if __name__ == "__main__":
    main()
