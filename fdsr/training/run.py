"""One of Lightning's verbs from its arguments to its end."""

from __future__ import annotations

import sys
from pathlib import Path

from fdsr.training.advice import silence_advice
from fdsr.training.endings import ended_by_signals
from fdsr.training.lightning_cli import FdsrCLI
from fdsr.training.refusals import refused_in_one_line, require_files

# short forms of what a user asks for most
_ALIASES = {
    "--run": "--trainer.default_root_dir", "--low": "--data.init_args.low", "--static": "--data.init_args.low_static",
    "--region": "--data.init_args.region",
}  # fmt: skip


def run(verb: str, arguments: list[str]) -> None:
    """Run one of Lightning's verbs with fdsr's defaults.

    Raises FdsrError for whatever the user can mend, KeyboardInterrupt after Ctrl-C, and SystemExit(143) after SIGTERM.
    """
    silence_advice()
    argv = [verb, *_files_first(_written_out(arguments))]
    require_files(argv)
    # a launcher of further processes starts what stands first here: a script, whoever called this one
    sys.argv = [str(Path(__file__).parents[1] / "cli.py"), *argv]
    with refused_in_one_line(), ended_by_signals():
        FdsrCLI(trainer_defaults={"max_epochs": -1, "num_sanity_val_steps": 0, "enable_model_summary": False})


_FLAGS = ("--overwrite", "--sharded")


def _written_out(arguments: list[str]) -> list[str]:
    """Arguments as the parser knows them: no short forms, and every flag with its value."""
    out: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        flag, equals, value = argument.partition("=")
        bare = argument in _FLAGS and following.startswith("--")
        if out and out[-1] == _ALIASES["--region"]:  # -30,60,… is no flag
            out[-1] += f"=[{argument.strip('[]')}]"
        elif flag == "--region" and equals:
            out.append(f"{_ALIASES[flag]}=[{value.strip('[]')}]")
        else:
            out.append(f"{argument}=true" if bare else _ALIASES.get(flag, flag) + equals + value)
    return out


def _files_first(arguments: list[str]) -> list[str]:
    """Configuration files in front: what else is given holds over them, wherever it stands."""
    files: list[str] = []
    others: list[str] = []
    for i, argument in enumerate(arguments):
        named = not {"--config", "-c"}.isdisjoint((argument.partition("=")[0], *arguments[max(i - 1, 0) : i]))
        (files if named else others).append(argument)
    return files + others
