"""`fdsr report`: one page that compares runs, and the figures of a sweep's table."""

from __future__ import annotations

from pathlib import Path

from fdsr.commands.options import Parser

DESCRIPTION = """Compare finished runs on one static HTML page, report.html: tables with the spread over seeds, differences in pairs
of seeds, quality against cost, spectra, rank histograms, losses, maps, and the record of every run. Of a sweep's
fid_vs_steps.csv: distance against steps and against time. The page loads nothing, so it can be opened from a disk or sent."""


def main(arguments: list[str]) -> None:
    """Report as `arguments` say."""
    parser = Parser("report", DESCRIPTION)
    about = "directories of runs that 'fdsr test' has scored, or of sweeps; fid_vs_steps.csv of a sweep"
    parser.add_argument("runs", nargs="+", metavar="RUN", help=about)
    parser.add_argument(
        "--output", default=None, metavar="FOLDER", help="folder for page, tables and figures (default: the last RUN's)"
    )
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

    from fdsr.report.compare import report

    report(options.runs, Path(options.output) if options.output else None, options.wandb)
