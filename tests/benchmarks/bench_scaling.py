"""Several ranks, and fields that need memory: training steps of our U-Net.

    python tests/benchmarks/bench_scaling.py [--output FOLDER] [--ranks 1 2]

Ranks are processes of one thread each under DistributedDataParallel (gloo); what a step moves is counted in the
gradients' own buckets. Memory is the peak of a process of its own with fields of 8 x 256 x 256, above what the process held
before its first step: all four fields at once, the same with activations computed again in the backward pass, and four
times one field with accumulated gradients. Writes scaling.csv and memory.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fdsr.backbones import build_backbone
from fdsr.records import code_version, device_name

ROOT = Path(__file__).parents[2]
NETWORK: dict[str, Any] = {"width": 32, "multipliers": (1, 2, 2)}
VARIANTS = {  # batch, accumulated batches, settings of the network
    "batch of 4": (4, 1, {}),
    "batch of 4, activations recomputed": (4, 1, {"recompute": True}),
    "4 accumulated batches of 1": (1, 4, {}),
    "4 accumulated batches of 1, activations recomputed": (1, 4, {"recompute": True}),
}


def make(channels: int, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone("unet", in_channels=channels, out_channels=channels, **NETWORK | settings)


def train_step(network: nn.Module, optimiser: torch.optim.Optimizer, batches: Sequence[Tensor]) -> None:
    optimiser.zero_grad()
    for x in batches:
        loss = (network(x, torch.ones(len(x), device=x.device)) - x).square().mean() / len(batches)
        loss.backward()
    optimiser.step()


def rank_main(rank: int, world: int, store: str, size: int, batch: int, steps: int, results: Any) -> None:
    """One rank: images a second of all ranks, megabytes of gradients a step."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    network = DistributedDataParallel(make(4))
    moved = [0]

    def count(state, bucket):  # type: ignore[no-untyped-def]  # torch reads the annotations and knows no strings
        moved[0] += bucket.buffer().numel() * bucket.buffer().element_size()
        future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
        return future.then(lambda f: f.value()[0] / world)

    network.register_comm_hook(None, count)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    x = torch.randn(batch, 4, size, size)
    train_step(network, optimiser, [x])
    moved[0] = 0
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(steps):
        train_step(network, optimiser, [x])
    dist.barrier()
    if rank == 0:
        results.put((world * batch * steps / (time.perf_counter() - begin), moved[0] / steps / 1e6))
    dist.destroy_process_group()


def memory_main(variant: str, size: int, results: Any) -> None:
    """Peak memory (MB) of training steps above what the process held before, and the seconds of one."""
    torch.set_num_threads(1)
    batch, accumulated, settings = VARIANTS[variant]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = make(8, **settings).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    batches = [torch.randn(batch, 8, size, size, device=device) for _ in range(accumulated)]

    def peak() -> float:
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    train_step(network, optimiser, [batches[0][:1, :, :16, :16]])  # loads libraries, makes the optimiser's state
    before, seconds = peak(), []
    for _ in range(2):
        begin = time.perf_counter()
        train_step(network, optimiser, batches)
        if device.type == "cuda":
            torch.cuda.synchronize()
        peak()
        seconds.append(time.perf_counter() - begin)
    results.put((peak() - before, min(seconds)))


def in_processes(target: Any, arguments: list[tuple[Any, ...]]) -> tuple[float, float]:
    """What the processes' rank 0 puts into the queue they are given last."""
    context = get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=target, args=(*a, results)) for a in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit(f"a process ended with exit code {process.exitcode}")
    first: tuple[float, float] = results.get()
    return first


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=ROOT / "experiments/results/speed")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=8, help="a rank")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--size", type=int, default=48, help="of the fields of the ranks")
    parser.add_argument("--memory-size", type=int, default=256)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), help="of the memory table")
    options = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options.output.mkdir(parents=True, exist_ok=True)
    place, of_memory = (
        (device_name(torch.device(name)).split(",")[0], code_version())
        for name in ("cpu", "cuda" if torch.cuda.is_available() else "cpu")
    )

    with (options.output / "scaling.csv").open("w", newline="") as file, tempfile.TemporaryDirectory() as folder:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ("ranks", "batch_per_rank", "images_per_second", "gradient_megabytes_per_step", "device", "commit")
        )
        for world in options.ranks:
            store = f"{folder}/{world}"
            rate, moved = in_processes(
                rank_main, [(r, world, store, options.size, options.batch, options.steps) for r in range(world)]
            )
            writer.writerow((world, options.batch, f"{rate:.2f}", f"{moved:.2f}", *place))
            print(f"{world} ranks: {rate:.1f} images/s, {moved:.2f} MB of gradients a step")

    with (options.output / "memory.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("variant", "shape", "peak_megabytes", "seconds_per_step", "device", "commit"))
        for variant in options.variants:
            peak, seconds = in_processes(memory_main, [(variant, options.memory_size)])
            shape = f"8x{options.memory_size}x{options.memory_size}"
            writer.writerow((variant, shape, f"{peak:.0f}", f"{seconds:.2f}", *of_memory))
            print(f"{variant:52} {peak:7.0f} MB {seconds:7.2f} s")


if __name__ == "__main__":
    main()
