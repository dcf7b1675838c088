"""The plain verbs: prepare, report, export. Heavy imports wait until their arguments are understood."""

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


def report(arguments: list[str]) -> None:
    """Print one table of several runs and draw their spectra."""
    parser = _Parser(
        prog="fdsr report", description="Compare finished runs: one table, and one figure of their spectra."
    )
    parser.add_argument("runs", nargs="+", help="directories of runs that 'fdsr test' has scored")
    parser.add_argument(
        "--output", default=None, help="folder for the joint table and figure (default: the last run's)"
    )
    options = parser.parse_args(arguments)

    from fdsr.report.compare import compare_runs

    compare_runs([Path(r) for r in options.runs], Path(options.output or options.runs[-1]))


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
