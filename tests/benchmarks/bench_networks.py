"""Training and sampling steps of our U-Net beside two that are often chosen instead, at equal cost on paper.

    python tests/benchmarks/bench_networks.py [--output FOLDER] [--rounds N] [--batch B] [--profile]

Every network has about the same parameters and floating-point operations (printed). A training step is: noise a batch,
run the network, mean square error, backward pass, AdamW; a sampling step is one evaluation without gradients. All take
turns in one process, and medians are compared: on shared cores only ratios mean anything. The peak is the rate of a
64-channel 3 × 3 convolution in the same run. Peers run as their users get them, and with channels_last as well; on a
GPU in bfloat16, and compiled besides. Writes speed.csv, and with --profile where the time of each training step goes.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from fdsr.backbones import build_backbone
from fdsr.diffusion import GaussianDiffusion, vp_schedule
from fdsr.records import code_version, device_name

COLUMNS = ("what", "shape", "batch", "implementation", "parameters", "gflop_per_image", "images_per_second", "gflops",
           "peak_fraction", "device", "commit")  # fmt: skip
SHAPES = ((1, 32, 32), (8, 64, 64))  # channels, height, width
Apply = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Contestant:
    """A network and how to call it with x (B, C, H, W) and t (B,)."""

    network: nn.Module
    apply: Apply
    fused: bool = False  # fused AdamW, as fdsr trains; the others as their own examples do
    memory_format: torch.memory_format = torch.contiguous_format


def ours(channels: int, size: int) -> Contestant:
    network = build_backbone("unet", in_channels=channels, out_channels=channels, width=56, multipliers=(1, 2, 2))
    return Contestant(network, network, fused=True)


def diffusers(channels: int, size: int) -> Contestant:
    from diffusers import UNet2DModel

    network = UNet2DModel(
        sample_size=size, in_channels=channels, out_channels=channels, layers_per_block=2, block_out_channels=(32, 64, 96),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return Contestant(network, lambda x, t: network(x, t, return_dict=False)[0])


def denoising_diffusion_pytorch(channels: int, size: int) -> Contestant:
    from denoising_diffusion_pytorch import Unet

    network = Unet(dim=32, dim_mults=(1, 2, 4), channels=channels)
    return Contestant(network, network)


BUILDERS = {
    "fdsr": ours,
    "diffusers": diffusers,
    "denoising-diffusion-pytorch": denoising_diffusion_pytorch,
}


def contestants(shape: tuple[int, int, int], device: torch.device) -> dict[str, Contestant]:
    """Every implementation on `device`, and the variants of each that are worth a row."""
    channels, size, _ = shape
    entries: dict[str, Contestant] = {}
    for name, build in BUILDERS.items():
        variants = [""] if name == "fdsr" else ["", " channels_last"]
        for variant in [*variants, *([" compiled"] if device.type == "cuda" else [])]:
            torch.manual_seed(0)
            entry = build(channels, size)
            entry.network.to(device)
            if variant == " channels_last":
                entry.network.to(memory_format=torch.channels_last)
                entry.memory_format = torch.channels_last
            if variant == " compiled":
                entry.network.compile(mode="max-autotune-no-cudagraphs")
            entries[name + variant] = entry
    return entries


def gflop(entry: Contestant, x: Tensor) -> float:
    """Floating-point operations of one forward evaluation of one image, in 10⁹ (a multiply-add is two)."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        entry.apply(x[:2], torch.ones(2, device=x.device))
    return counter.get_total_flops() / 2e9


def training_step(entry: Contestant, x_0: Tensor) -> Callable[[], None]:
    process = GaussianDiffusion(vp_schedule(1000)).to(x_0.device)
    optimiser = torch.optim.AdamW(entry.network.parameters(), lr=1e-4, fused=entry.fused or None)
    x_0 = x_0.contiguous(memory_format=entry.memory_format)

    def step() -> None:
        noise, t = torch.randn_like(x_0), torch.randint(1, 1001, (len(x_0),), device=x_0.device)
        with torch.autocast(x_0.device.type, torch.bfloat16, enabled=x_0.is_cuda):
            output = entry.apply(process.q_sample(x_0, t, noise), t.float())
        loss = (output.float() - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def sampling_step(entry: Contestant, x: Tensor) -> Callable[[], None]:
    x, t = x.contiguous(memory_format=entry.memory_format), torch.full((len(x),), 500.0, device=x.device)

    def step() -> None:
        with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
            entry.apply(x, t)

    return step


def convolution(device: torch.device) -> tuple[Callable[[], None], float]:
    """What the machine can do: a 64-channel 3 × 3 convolution, and its operations in 10⁹."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    x = torch.randn(64, 64, 32, 32, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    w = torch.randn(64, 64, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)

    def step() -> None:
        for _ in range(4):
            torch.conv2d(x, w, padding=1)

    return step, 4 * 2 * 64 * 64 * 9 * 64 * 32 * 32 / 1e9


def seconds(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def in_turn(steps: dict[str, Callable[[], None]], rounds: int, device: torch.device, label: str) -> dict[str, float]:
    """Median seconds of each step after two warm-up rounds, the steps taking turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in tqdm(range(rounds + 2), desc=label):
        for name, step in steps.items():
            taken = seconds(step, device)
            if i >= 2:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(shape: tuple[int, int, int], batch: int, rounds: int, device: torch.device) -> list[dict[str, object]]:
    entries = contestants(shape, device)
    x = torch.randn(batch, *shape, device=device)
    peak_step, peak_gflop = convolution(device)
    rows: list[dict[str, object]] = []
    # the backward pass of a convolution is two convolutions of the same cost
    for what, make, passes in (("training step", training_step, 3), ("sampling step", sampling_step, 1)):
        steps = {name: make(entry, x) for name, entry in entries.items()}
        label = f"{what} {'x'.join(map(str, shape))}"
        medians = in_turn(steps | {"peak": peak_step}, rounds, device, label)
        peak = peak_gflop / medians["peak"]
        for name, entry in entries.items():
            cost = gflop(entry, x)
            rate = passes * cost * batch / medians[name]
            values = (what, "x".join(map(str, shape)), batch, name, sum(p.numel() for p in entry.network.parameters()),
                      round(cost, 4), round(batch / medians[name], 2), round(rate, 1), round(rate / peak, 3),
                      device_name(device), code_version())  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def profile(shape: tuple[int, int, int], batch: int, device: torch.device) -> str:
    """Share of each operator in a training step, for every implementation."""
    text = []
    x = torch.randn(batch, *shape, device=device)
    for name in BUILDERS:
        step = training_step(contestants(shape, device)[name], x)
        step()
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities) as recorded:
            for _ in range(3):
                step()
        events = sorted(recorded.key_averages(), key=lambda e: -e.self_cpu_time_total)
        total = sum(e.self_cpu_time_total for e in events)
        text.append(f"{name}, training step, {'x'.join(map(str, shape))}, batch {batch}")
        text += [f"  {100 * e.self_cpu_time_total / total:5.1f} %  {e.key}" for e in events[:14]] + [""]
    return "\n".join(text)


def table(rows: list[dict[str, object]]) -> str:
    lines = [f"{'':16}{'':9}{'':41}{'M param':>8}{'GFLOP':>8}{'images/s':>10}{'of ours':>9}{'of peak':>9}"]
    for row in rows:
        first = next(r for r in rows if (r["what"], r["shape"]) == (row["what"], row["shape"]))
        relative = row["images_per_second"] / first["images_per_second"]  # type: ignore[operator]
        lines.append(
            f"{row['what']:16}{row['shape']:9}{row['implementation']:41}{row['parameters'] / 1e6:8.2f}"  # type: ignore[operator]
            f"{row['gflop_per_image']:8.3f}{row['images_per_second']:10.1f}{relative:9.2f}{row['peak_fraction']:9.2f}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path("experiments/results/speed"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--shapes", nargs="+", default=["x".join(map(str, s)) for s in SHAPES], help="CxHxW …")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes = [tuple(int(n) for n in shape.split("x")) for shape in options.shapes]
    options.output.mkdir(parents=True, exist_ok=True)
    rows = [row for shape in shapes for row in measure(shape, options.batch, options.rounds, device)]  # type: ignore[arg-type]
    with (options.output / "speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(table(rows))
    if options.profile:
        text = profile(shapes[0], options.batch, device)  # type: ignore[arg-type]
        (options.output / "profile.txt").write_text(text)
        print("\n" + text)


if __name__ == "__main__":
    main()
