"""What a built W&B specification refers to, and what a W&B run has logged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Keys(NamedTuple):
    """Of a run's summary, of its configuration, and of its history."""

    summary: set[str]
    config: set[str]
    history: set[str]


def referenced(spec: Any) -> Keys:
    """All keys that panels, columns and charts of a specification name."""
    found = Keys(set(), set(), set())
    _walk(spec, found)
    return found


def _walk(node: Any, found: Keys) -> None:
    if isinstance(node, list):
        for item in node:
            _walk(item, found)
    elif isinstance(node, dict):
        if node.get("name") == "tableKey":
            found.summary.add(node["value"])
        found.summary.update(node.get("mediaKeys", []))
        if node.get("viewType") == "Run History Line Plot":
            found.history.update([node["config"]["xAxis"], *node["config"]["metrics"]])
        for key, value in node.items():
            _walk(key, found)
            _walk(value, found)
    elif isinstance(node, str):
        section, colon, name = node.partition(":")
        if section == "summary" and colon:
            found.summary.add(name)
        if section == "config" and colon:
            found.config.add(name.removesuffix(".value"))


def logged(file: Path) -> dict[str, Any]:
    """State, configuration and summary that stand in a .wandb file, as W&B's own program reads them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(file)]
    said: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    return said
