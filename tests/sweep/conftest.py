"""A sweep file of three points."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CONTENT: dict[str, Any] = {
    "table": "fid_vs_steps",
    "keys": {
        "T": ["model.init_args.timesteps", "model.init_args.steps"],
        "divergence": "model.init_args.divergence",
        "nfe": "model.init_args.steps",
        "seed": "seed_everything",
    },
    "settings": {"data.init_args.batch_size": 4},
    "fit": {"steps": 3},
    "test": {"loud": False},
    "blocks": [
        {"method": "ddgan", "config": "tiny.yaml", "grid": {"divergence": ["gan"], "T": [1, 2], "seed": [0]}},
        {
            "method": "ddpm", "config": "tiny.yaml", "grid": {"T": [8], "seed": [0]},
            "evaluations": [
                {"method": "ddpm", "settings": {"sampler": "ancestral"}},
                {"method": "ddpm_ddim", "settings": {"sampler": "ddim"}, "grid": {"nfe": [2, 4]}},
            ],
        },
    ],
}  # fmt: skip


@pytest.fixture
def sweep_file(tmp_path: Path) -> Callable[..., Path]:
    """sweep_file(change, …): the file, after each `change(content)` has been made; its configuration beside it."""

    def write(*changes: Callable[[dict[str, Any]], object], name: str = "study") -> Path:
        content = copy.deepcopy(CONTENT)
        for change in changes:
            change(content)
        (tmp_path / "tiny.yaml").write_text("model: {class_path: tiny}\n")
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write
