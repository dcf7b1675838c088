"""`fdsr synthesise`: unlimited synthetic training fields, as a source for `fdsr prepare`."""

from __future__ import annotations

import argparse

from fdsr.commands.options import Parser

DESCRIPTION = """Make unlimited synthetic training fields: independent runs of turbulence on a doubly periodic plane (surface
quasi-geostrophic or two-dimensional), as a source for 'fdsr prepare'. They are no weather, and say so. An interrupted
synthesis goes on where it stopped when the same command is given again."""


def main(arguments: list[str]) -> None:
    """Synthesise as `arguments` say, and say where and how to go on."""
    parser = Parser("synthesise", DESCRIPTION)
    add_options(parser)
    options = vars(parser.parse_args(arguments))
    target, device = options.pop("target"), options.pop("device")

    from fdsr.data.making.synthesis import SynthesisConfig, synthesise
    from fdsr.drawing.synthesis import draw_synthesis
    from fdsr.turbulence import Damping, find_flow

    damping = Damping(options.pop("viscosity"), options.pop("order"), options.pop("friction"))
    config = SynthesisConfig(**options, damping=damping)
    synthesise(config, target, device)
    print(f"synthetic source: {target} ({config.runs} runs × {config.fields_per_run} fields)")
    print(f"picture: {draw_synthesis(target)}")
    if config.runs < 3:
        print("pairs of it need three runs at least: one to train on, one to validate, one to test")
        return
    scalar = find_flow(config.flow).scalar
    print(
        f"pairs of it: fdsr prepare --source {target} --target PAIRS.zarr --variables {scalar},u,v --factor 4 --gap 0 "
        f"--split {_split(config.runs, config.fields_per_run)}"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to `parser`, under the names of SynthesisConfig's arguments where they are these."""
    parser.add_argument("--target", required=True, help="source store (Zarr) to write; must not exist")
    parser.add_argument("--flow", default="sqg", choices=("sqg", "euler"),
                        help="surface quasi-geostrophic (default) or two-dimensional turbulence")  # fmt: skip
    parser.add_argument("--size", default=64, type=int, help="points along each side (default 64)")
    parser.add_argument("--runs", default=128, type=int, help="independent runs (default 128)")
    parser.add_argument("--fields-per-run", default=20, type=int, help="snapshots of each (default 20)")
    parser.add_argument("--spin-up", default=2.0, type=float, help="turnover times before the first (default 2)")
    parser.add_argument("--interval", default=1.0, type=float, help="turnover times between two (default 1)")
    parser.add_argument("--wavenumber", default=3.0, type=float, help="eddies along a side that are forced (default 3)")
    parser.add_argument("--viscosity", default=1.0, type=float,
                        help="hyperviscosity, in turnover rates of the smallest eddies (default 1)")  # fmt: skip
    parser.add_argument("--order", default=4, type=int, help="its order p, damping like k^2p (default 4)")
    parser.add_argument("--friction", default=0.2, type=float,
                        help="hypofriction, in turnover rates of the forced eddies (default 0.2)")  # fmt: skip
    parser.add_argument("--length", default=1000.0, type=float, help="side in km that the axes state (default 1000)")
    parser.add_argument("--seed", default=0, type=int, help="root of all draws (default 0)")
    parser.add_argument("--batch", default=8, type=int, help="runs side by side (default 8)")
    parser.add_argument(
        "--device", default=None, choices=("cpu", "cuda"), help="cpu or cuda (default: cuda if there is one)"
    )


def _split(runs: int, fields: int) -> str:
    """Blocks of whole runs: a tenth for validation, a tenth for tests, the rest for training."""
    tenth = max(1, runs // 10)
    return f"train={max(1, runs - 2 * tenth) * fields},val={tenth * fields},test={tenth * fields}"
