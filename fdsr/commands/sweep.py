"""`fdsr sweep`: every point of a grid."""

from __future__ import annotations

from fdsr.commands.options import Parser, positive

DESCRIPTION = """Train and test every point of a grid, each in a process and a folder of its own. Points that are finished are
skipped, interrupted ones go on from their last checkpoint: give the same command again."""


def main(arguments: list[str]) -> None:
    """Sweep as `arguments` say."""
    parser = Parser("sweep", DESCRIPTION)
    parser.add_argument("sweep", metavar="F.yaml", help="the sweep, for instance experiments/sweep_T_cpu.yaml")
    parser.add_argument("--jobs", default=1, type=positive, metavar="N", help="points side by side (default 1)")
    parser.add_argument("--only", default=None, metavar="PATTERN", help="run only points so called, as 'ddgan-*T=4*'")
    parser.add_argument("--dry-run", action="store_true", help="list the points and the commands that are left")
    parser.add_argument("--output", default=None, metavar="DIR", help="the sweep's folder (default: runs/ and name)")
    options = parser.parse_args(arguments)

    from fdsr.sweep.sweep import run_sweep

    run_sweep(options.sweep, options.output, options.jobs, options.only, options.dry_run)
