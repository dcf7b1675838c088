"""What a search for a GAN's settings has found: distance, cost and the discriminator's state of every finished training.

    python experiments/search_table.py SWEEP.yaml RUNS --output TABLE.csv

SWEEP.yaml, RUNS: the sweep of DDGANs on images and the folder in which it ran; points that are not finished are left out. Writes a
table and prints it as Markdown, best first for each divergence. Columns: `cpu_seconds` of one core for the training's networks,
measured here and now, all points in turn, since the wall time of a training on a shared machine says more of its neighbours;
`accuracy_t…`, the share of pairs of time t that the discriminator held rightly, over the last quarter of the training; `gain`, by how
much its loss fell when it was trained alone for a while at the end (`fdsr.callbacks.CriticProbe`).
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fdsr.data.image_spec import ImageSpec
from fdsr.modules import DDGANModule
from fdsr.modules.adversarial import Targets
from fdsr.records import RunFolder, Table
from fdsr.sweep.grid import Point, Settings, read_sweep

Row = dict[str, Any]

ROUNDS = 4
_MODEL = "model.init_args."


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--output", type=Path, default=Path("search.csv"))
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="How often the cost of a step is measured; the median counts."
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    points = [p for p in read_sweep(options.sweep).points if RunFolder(options.runs / p.name).tested_distances()]
    if not points:
        parser.error(f"no point of {options.sweep} is finished in '{options.runs}'")
    rows = [facts(p, RunFolder(options.runs / p.name)) for p in points]
    for row, seconds in zip(rows, step_seconds(points, options.rounds), strict=True):
        row["cpu_seconds"] = float(f"{seconds * row['steps']:.3g}")
    rows.sort(key=lambda r: (str(r["divergence"]), r["classifier_frechet"]))
    table = Table(options.output)
    table.write(rows)
    print("\n".join(markdown(rows)))
    print(f"table: {table}")


def facts(point: Point, run: RunFolder) -> Row:
    """What one training came to."""
    tested, fit = run.tested_distances() or {}, run.record.read()["fit"]
    logged = run.metrics.read()
    steps = fit["steps"]
    late = [line for line in logged if line["step"] >= 0.75 * steps]
    accuracies = {f"accuracy_t{t}": _mean(late, f"d_accuracy_t{t}") for t in range(1, point.axes["T"] + 1)}
    return {
        "method": point.method,
        **{axis: point.axes[axis] for axis in ("divergence", "T", "seed")},
        "classifier_frechet": round(tested["classifier_frechet"], 3),
        "n_generated": tested["n_generated"],
        "images_seen": fit["samples_seen"],
        "steps": steps,
        "cpu_seconds": None,
        **accuracies,
        "d_loss": _mean(late, "d_loss"),
        "gain": _mean(logged[-8:], "probe/gain"),
        "commit": tested["commit"],
    }


def _mean(lines: list[Row], name: str) -> float | None:
    values = [line[name] for line in lines if name in line]
    return round(statistics.fmean(values), 3) if values else None


def step_seconds(points: list[Point], rounds: int) -> list[float]:
    """Seconds that a processor works on one training step of each point's networks: both losses, their gradients, R1 in its turn."""
    modules = [_module(point) for point in points]
    seconds: list[list[float]] = [[] for _ in points]
    # in turn, so that a change of the machine's state is everyone's; the first round warms up
    for number in range(rounds + 1):
        for point, module, found in zip(points, modules, seconds, strict=True):
            plain, penalised, generator = _timed(module, point.fit or {})
            if number:
                found.append(generator + plain + (penalised - plain) / module.r1_every)
    return [statistics.median(found) if found else math.nan for found in seconds]


def _module(point: Point) -> DDGANModule:
    settings = point.fit or {}
    # which times are drawn, a setting of a setting, costs nothing
    arguments = {k.removeprefix(_MODEL): v for k, v in settings.items() if k.rpartition(".")[0] + "." == _MODEL}
    module = DDGANModule(**arguments)
    module.attach(ImageSpec(channels=1, height=28, width=28, padded=32))
    return module


def _timed(module: DDGANModule, settings: Settings) -> Iterator[float]:
    """Of a discriminator's step, of one with the penalty, and of a generator's."""
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(settings["data.init_args.batch_size"], 1, 32, 32) * 2 - 1
    targets, half = Targets(images, images[:, :0]), settings.get("trainer.precision") == "bf16-mixed"
    for penalised in (False, True):
        begun = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss, penalty, _ = module.discriminator_loss(targets, rng, penalised=penalised)
        (loss + penalty).backward()
        yield time.process_time() - begun
    torch.clear_autocast_cache()
    begun = time.process_time()
    module.discriminator.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = module.generator_loss(targets, rng)
    loss.backward()
    module.discriminator.requires_grad_(True)
    yield time.process_time() - begun


def markdown(rows: list[Row]) -> Iterator[str]:
    """The rows as a Markdown table, without the columns that are alike in all of them."""
    shown = [name for name in rows[0] if len({str(r.get(name)) for r in rows}) > 1] if len(rows) > 1 else list(rows[0])
    yield f"| {' | '.join(shown)} |"
    yield f"| {' | '.join('---' for _ in shown)} |"
    for row in rows:
        yield f"| {' | '.join('' if row.get(name) is None else str(row[name]) for name in shown)} |"


if __name__ == "__main__":
    main()
