"""How many members · megapixels a second an ensemble of weather fields is drawn at: batches, tiles, half precision, and other ways.

    python tests/benchmarks/bench_inference.py [--output FOLDER] [--rounds N] [--members M] [--steps N] [--globe]

One diffusion model of the main job's size with weights not trained, one time of the embedded sample (180 × 360, four fields). All
take turns in one process; ratios are medians over rounds of those within a round, and `least` and `most` their range. On a
CPU seconds are those of the process. `plain loop` draws one member after the other, and encodes the condition for each; `diffusers` is
its UNet2DModel of as many operations in the loop of its pipelines over its DPMSolverMultistepScheduler. Writes inference.csv.

With --globe instead: an ensemble on 720 × 1440 points in tiles, and the most memory that the process had. Writes globe.csv.
"""

from __future__ import annotations

import argparse
import csv
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from timing import seconds
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from fdsr.data import WeatherDataModule
from fdsr.data.field_spec import FieldSpec
from fdsr.data.interpolate import HALO
from fdsr.diffusion import ColouredNoise, DPMSolverPP
from fdsr.grids import Grid
from fdsr.modules import DDPMModule
from fdsr.records import code_version, device_name

ROOT = Path(__file__).parents[2]
COLUMNS = ("what", "member_gflop", "members_megapixels_per_second", "times_fdsr", "least", "most", "steps", "members", "rounds",
           "device", "commit")  # fmt: skip
GLOBE = ("rows", "columns", "members", "steps", "norm", "tiles", "seconds", "megabytes", "device", "commit")
NETWORK: dict[str, Any] = {"width": 32, "multipliers": [1, 2, 2], "blocks": 1}
Draw = Callable[[], object]


def sample(device: torch.device) -> tuple[FieldSpec, dict[str, Tensor]]:
    """The embedded sample's specification, and one time of its test block."""
    settings = yaml.safe_load((ROOT / "experiments/parts/era5_sample.yaml").read_text())["init_args"]
    data = WeatherDataModule(**settings | {"source": str(ROOT / settings["source"])})
    data.prepare_data()
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    return data.spec, {k: v[:1].to(device) for k, v in batch.items()}


def module_on(spec: FieldSpec, steps: int, device: torch.device, **settings: Any) -> DDPMModule:
    """A model of the main job's size whose head is not zero, so that every weight has an effect."""
    network = NETWORK | {"norm": settings.pop("norm", "pixel")}
    module = DDPMModule(noise=ColouredNoise(), backbone_args=network, sampler=DPMSolverPP(steps), **settings)
    module.attach(spec)
    torch.manual_seed(0)
    torch.nn.init.normal_(module.network.head.weight, std=0.01)  # type: ignore[union-attr, arg-type]
    return module.eval().to(device)


def peer(module: DDPMModule, batch: dict[str, Tensor], members: int, steps: int) -> Draw:
    """An ensemble by diffusers: its network of as many operations, on the noisy field and the condition, in its pipelines' loop."""
    from diffusers import DPMSolverMultistepScheduler, UNet2DModel

    known = module.fields.encode(batch)
    channels = known.base.shape[1]
    network = UNet2DModel(
        in_channels=channels + known.condition.shape[1], out_channels=channels, layers_per_block=1, norm_num_groups=8,
        block_out_channels=(24, 48, 48), down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3,
        add_attention=False,
    ).eval().to(known.base.device)  # fmt: skip
    scheduler = DPMSolverMultistepScheduler(prediction_type="v_prediction")

    @torch.no_grad()
    def draw() -> Tensor:
        condition = known.condition.expand(members, -1, -1, -1)
        scheduler.set_timesteps(steps)
        x = torch.randn(members, *known.base.shape[1:], device=known.base.device)
        for t in scheduler.timesteps:
            output = network(torch.cat([x, condition], 1), t).sample
            x = scheduler.step(output, t, x).prev_sample
        return x

    return draw


def plain_loop(module: DDPMModule, batch: dict[str, Tensor], members: int) -> Draw:
    """One member after the other, everything anew for each."""
    return lambda: [module.generate(batch, 1, seed) for seed in range(members)]


def half(draw: Draw, device: torch.device) -> Draw:
    def drawn() -> object:
        with torch.autocast(device.type, torch.bfloat16):
            return draw()

    return drawn


def contestants(options: argparse.Namespace, device: torch.device) -> dict[str, Draw]:
    spec, batch = sample(device)
    steps, members = options.steps, options.members

    def ours(**settings: Any) -> Draw:
        module = module_on(spec, steps, device, **settings)
        return lambda: module.generate(batch, members, 0)

    whole = module_on(spec, steps, device)
    return {
        "fdsr": ours(member_batch=4),
        "fdsr, one member at once": ours(member_batch=1),
        "fdsr, tiles of 128²": ours(tile="128x128"),
        "fdsr, conserving in all steps": ours(conserve="steps"),
        "fdsr, bfloat16": half(ours(), device),
        "plain loop": plain_loop(whole, batch, members),
        "diffusers": peer(whole, batch, members, steps),
    }


def operations(draw: Draw, members: int) -> float:
    """10⁹ floating-point operations of one member (a multiply-add is two)."""
    with FlopCounterMode(display=False) as counter:
        draw()
    return counter.get_total_flops() / 1e9 / members


def measure(options: argparse.Namespace, device: torch.device) -> list[dict[str, object]]:
    draws = contestants(options, device)
    cost = {name: operations(draw, options.members) for name, draw in draws.items()}  # warms caches as well
    taken: list[dict[str, float]] = []
    for _ in tqdm(range(options.rounds)):
        taken.append({name: seconds(draw, device) for name, draw in draws.items()})
    megapixels = options.members * 180 * 360 / 1e6
    rows: list[dict[str, object]] = []
    for name in draws:
        ratios = [t["fdsr"] / t[name] for t in taken]
        rate = statistics.median(megapixels / t[name] for t in taken)
        values = (name, f"{cost[name]:.4g}", f"{rate:.4g}", f"{statistics.median(ratios):.3g}", f"{min(ratios):.3g}",
                  f"{max(ratios):.3g}", options.steps, options.members, options.rounds, device_name(device), code_version())  # fmt: skip
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def on_the_globe(spec: FieldSpec, rows: int, columns: int) -> tuple[FieldSpec, dict[str, Tensor]]:
    """The kind of `spec` on a global grid of its own, with made-up coarse fields and statics."""
    latitude = 90 - 180 / rows * (np.arange(rows) + 0.5)
    fine = Grid(latitude, 360 / columns * np.arange(columns))
    rng = torch.Generator().manual_seed(0)
    static = torch.randn(len(spec.static_channels), rows, columns, generator=rng)
    spec = replace(
        spec, grid=fine, static=static, local_scale=None, power_local=None, static_mean=None, static_std=None
    )
    shape = (rows // spec.factor[0] + 2 * HALO, columns // spec.factor[1] + 2 * HALO)
    low = torch.randn(1, len(spec.low_channels), *shape, generator=rng)
    low = spec.low_mean.float()[:, None, None] + spec.low_std.float()[:, None, None] * low
    return spec, {"low": low, "conditioning": spec.conditioning()[None], "time": torch.zeros(1, dtype=torch.long)}


def globe(options: argparse.Namespace, device: torch.device) -> list[dict[str, object]]:
    rows, columns = options.size
    spec, batch = on_the_globe(sample(torch.device("cpu"))[0], rows, columns)
    module = module_on(spec, options.steps, device, tile=options.tile, member_batch=options.member_batch)
    said: list[str] = []
    module.tiler.tell = said.append
    begin = time.perf_counter() if device.type == "cuda" else time.process_time()
    members = module.generate({k: v.to(device) for k, v in batch.items()}, options.members, 0)
    taken = (time.perf_counter() if device.type == "cuda" else time.process_time()) - begin
    assert members.shape == (1, options.members, len(spec.high_channels), rows, columns)
    most = (
        torch.cuda.max_memory_allocated()
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    values = (rows, columns, options.members, options.steps, "pixel", said[0] if said else "whole", f"{taken:.4g}",
              f"{most / 1e6:.4g}", device_name(device), code_version())  # fmt: skip
    return [dict(zip(GLOBE, values, strict=True))]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=ROOT / "experiments/results/inference_speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--member_batch", type=int, default=4, help="members drawn at once on the globe")
    parser.add_argument("--steps", type=int, default=3, help="network evaluations a member")
    parser.add_argument("--globe", action="store_true", help="one ensemble on a global grid instead, for its memory")
    parser.add_argument("--size", type=int, nargs=2, default=(720, 1440), help="rows and columns of that grid")
    parser.add_argument("--tile", default="auto", help="of that ensemble")
    options = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    made, columns = (globe, GLOBE) if options.globe else (measure, COLUMNS)
    rows = made(options, device)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / ("globe.csv" if options.globe else "inference.csv")
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
