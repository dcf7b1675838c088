"""The comparison in Weights & Biases: the built specification as a file, and saved where somebody is logged in."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from fdsr.atomic import write_text
from fdsr.errors import FdsrError, one_line
from fdsr.report.studies import Study
from fdsr.report.sweep_table import SweepTable

SPECIFICATION = "wandb_workspace.json"
_EXTRA = "workspaces need the wandb-workspaces package; install it with: pip install 'fdsr[workspace]'"


def place(text: str) -> tuple[str, str]:
    """(entity, project) of `ENTITY/PROJECT`, `PROJECT` or nothing at all: WANDB_ENTITY and WANDB_PROJECT say the rest.

    The entity is empty where nobody says it; the server then takes the user's own. Raises FdsrError for anything else.
    """
    parts = text.split("/") if text else []
    if len(parts) > 2 or not all(parts):
        raise FdsrError(f"--wandb '{text}' is neither ENTITY/PROJECT nor PROJECT")
    project = parts[-1] if parts else os.environ.get("WANDB_PROJECT", "fdsr")
    return (parts[0] if len(parts) == 2 else os.environ.get("WANDB_ENTITY", "")), project


def publish(text: str, studies: Sequence[Study], sweeps: Sequence[SweepTable], output: Path) -> None:
    """Write `output`/wandb_workspace.json, then save workspace and report to the server; prints where they are.

    Args:
        text: see `place`.
        studies, sweeps: as `write_page` takes them.

    Raises FdsrError without wandb-workspaces, without a login and without a server: all but the first after the file is written.
    """
    entity, project = place(text)
    # what it says of itself comes between our lines
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        from fdsr.report.wandb import workspace as build
    except ModuleNotFoundError as error:
        raise FdsrError(_EXTRA) from error
    found = build.chapters(studies, sweeps)
    path = output / SPECIFICATION
    both = build.make_workspace(entity, project, found), build.make_report(entity, project, found)
    write_text(path, json.dumps(build.specification(*both), indent=1, ensure_ascii=False) + "\n")
    runs = [run for study in studies for run in study.runs]
    absent = sum(not build.run_ids(run) for run in runs)
    print(f"wandb:  {path}" + (f" ({absent} of {len(runs)} runs were not logged and are missing)" if absent else ""))

    import wandb

    try:
        if not wandb.login(prompt=False, verify=False):
            raise FdsrError(f"nobody is logged in to Weights & Biases, so '{path}' was not saved; give 'wandb login'")
        entity = entity or str(wandb.Api().default_entity or "")
        for built in (build.make_workspace(entity, project, found), build.make_report(entity, project, found)):
            print(f"wandb:  {built.save().url}")
    except FdsrError:
        raise
    except Exception as error:  # of a kind of its own for each way in which a server can fail
        raise FdsrError(f"Weights & Biases did not take '{path}': {one_line(error)}") from error
