"""The plain verbs: prepare, synthesise, sweep, report and the like. Heavy imports wait until their arguments are understood."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from fdsr.errors import FdsrError


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing its whole usage."""

    def error(self, message: str) -> NoReturn:
        raise FdsrError(f"{self.prog.split()[-1]}: {message} (see 'fdsr {self.prog.split()[-1]} --help')")


def prepare(arguments: list[str]) -> None:
    """Make a pair store from a gridded source."""
    from fdsr.prepare_options import DESCRIPTION, add_options, run

    parser = _Parser(prog="fdsr prepare", description=DESCRIPTION)
    add_options(parser)
    run(parser, parser.parse_args(arguments))


def synthesise(arguments: list[str]) -> None:
    """Make a source of synthetic fields."""
    from fdsr.synthesise_options import DESCRIPTION, add_options, run

    parser = _Parser(prog="fdsr synthesise", description=DESCRIPTION)
    add_options(parser)
    run(parser.parse_args(arguments))


def bench_data(arguments: list[str]) -> None:
    """Measure how fast a store's data come, and how long a model waits for them."""
    parser = _Parser(
        prog="fdsr bench-data",
        description="Measure samples/s and MB/s of a pair store's readers and batches, and the share of time that a model "
        "waits for data.",
        epilog="With --config, further --data.NAME VALUE and --model.NAME VALUE change the configuration.",
    )
    parser.add_argument("--config", default=None, help="configuration whose data and model are measured")
    parser.add_argument("--store", default=None, help="or a pair store, with a small U-Net")
    parser.add_argument("--patch", default=None, type=_sides, help="with --store: ROWS,COLUMNS (default: whole fields)")
    parser.add_argument("--batch-size", default=16, type=int, help="with --store (default 16)")
    parser.add_argument("--batches", default=50, type=int, help="batches to time (default 50)")
    parser.add_argument("--steps", default=30, type=int, help="training steps to time; 0: no model (default 30)")
    options, rest = parser.parse_known_args(arguments)
    if (options.config is None) == (options.store is None):
        parser.error("give either --config or --store")
    if rest and options.config is None:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.batches < 1 or options.steps < 0 or options.batch_size < 1:
        parser.error("--batches and --batch-size are at least 1, --steps at least 0")

    from fdsr.bench import bench_data as bench

    module, data = (
        bench.from_config(["--config", options.config, *rest])
        if options.config
        else bench.from_store(options.store, options.patch, options.batch_size)
    )
    print(bench.bench_data(module, data, options.batches, options.steps))


def sweep(arguments: list[str]) -> None:
    """Run every point of a grid."""
    parser = _Parser(
        prog="fdsr sweep",
        description="Train and test every point of a grid, each in a process and a folder of its own. Points that are finished "
        "are skipped, interrupted ones go on from their last checkpoint: give the same command again.",
    )
    parser.add_argument("sweep", metavar="F.yaml", help="the sweep, for instance experiments/sweep_T_cpu.yaml")
    parser.add_argument("--jobs", default=1, type=int, metavar="N", help="points side by side (default 1)")
    parser.add_argument("--only", default=None, metavar="PATTERN", help="run only points so called, as 'ddgan-*T=4*'")
    parser.add_argument("--dry-run", action="store_true", help="list the points and the commands that are left")
    parser.add_argument(
        "--output", default=None, metavar="DIR", help="the sweep's folder (default: runs/ and its name)"
    )
    options = parser.parse_args(arguments)

    from fdsr.sweep.sweep import run_sweep

    run_sweep(options.sweep, options.output, options.jobs, options.only, options.dry_run)


def report(arguments: list[str]) -> None:
    """Write one page that compares runs, and draw the figures of a sweep's table."""
    parser = _Parser(
        prog="fdsr report",
        description="Compare finished runs on one static HTML page, report.html: tables with the spread over seeds, differences in "
        "pairs of seeds, quality against cost, spectra, rank histograms, losses, maps, and the record of every run. Of a sweep's "
        "fid_vs_steps.csv: distance against steps and against time. The page loads nothing, so it can be opened from a disk or sent.",
    )
    about = "directories of runs that 'fdsr test' has scored, or of sweeps; fid_vs_steps.csv of a sweep"
    parser.add_argument("runs", nargs="+", metavar="RUN", help=about)
    parser.add_argument("--output", default=None, help="folder for page, tables and figures (default: the last RUN's)")
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="",
        default=None,
        metavar="ENTITY/PROJECT",
        help="build the same as a Weights & Biases workspace and report too, as wandb_workspace.json beside the page, and on the "
        "server if you are logged in (default: WANDB_ENTITY, or your own, and WANDB_PROJECT, or fdsr)",
    )
    options = parser.parse_args(arguments)
    if options.wandb and Path(options.wandb).exists():
        parser.error(f"--wandb has taken '{options.wandb}' for ENTITY/PROJECT; give the runs first")

    from fdsr.report.compare import report as write

    write(options.runs, Path(options.output) if options.output else None, options.wandb)


def export(arguments: list[str]) -> None:
    """Turn a checkpoint into a small folder that loads without the run."""
    parser = _Parser(
        prog="fdsr export",
        description="Write a checkpoint's averaged weights, statistics and configuration to a folder.",
    )
    parser.add_argument("checkpoint")
    parser.add_argument("folder")
    options = parser.parse_args(arguments)

    from fdsr.modules import load_module, save_pretrained

    print(f"model: {save_pretrained(load_module(options.checkpoint), options.folder)}")


def _sides(text: str) -> tuple[int, int]:
    parts = [int(p) for p in text.split(",")]
    if len(parts) not in (1, 2) or min(parts) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is neither N nor ROWS,COLUMNS")
    return parts[0], parts[-1]
