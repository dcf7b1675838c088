"""What a prediction is of: what has to be the same for one to go on with another, and what is said of it in its file."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from fdsr.data.attribution import owed
from fdsr.data.serving.datasets import WholeFields
from fdsr.modules.downscaling import DownscalingModule
from fdsr.records import code_version
from fdsr.records.provenance import versions


def model_fingerprint(module: DownscalingModule) -> str:
    """Sixteen hexadecimal digits over weights, first stage and training data."""
    digest = hashlib.sha256(str(module.home.fingerprint).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    if module.codec.stage is not None:
        digest.update(module.codec.stage.fingerprint.encode())
    return digest.hexdigest()[:16]


def input_fingerprint(fields: WholeFields) -> str:
    """Sixteen hexadecimal digits over the place, its times, and the first and the last of the fields."""
    digest, grid = hashlib.sha256(), fields.spec.grid
    for values in (grid.rows, grid.columns, fields.times.astype("datetime64[s]").astype(np.int64)):
        digest.update(np.ascontiguousarray(values).tobytes())
    for item in {0, len(fields) - 1}:
        batch: Any = fields.__getitems__([item])
        for name in ("low", "conditioning"):
            digest.update(batch[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def settings_of(module: DownscalingModule, fields: WholeFields, members: int, seed: int) -> dict[str, str]:
    """What makes a prediction, by name."""
    found: dict[str, Any] = {
        "method": type(module).__name__,
        "model": model_fingerprint(module),
        "inputs": input_fingerprint(fields),
        "seed": seed,
        "members": members,
        "steps": f"{module.evaluations_per_member} ({getattr(module, 'sampler', 'no sampler')})",
    }
    found |= {name: getattr(module, name) for name in ("tile", "conserve") if hasattr(module, name)}
    return {name: str(value) for name, value in found.items()}


def attributes_of(
    module: DownscalingModule, fields: WholeFields, settings: dict[str, str], given: dict[str, Any]
) -> dict[str, str]:
    """Global attributes of a prediction: what made it, and what is owed to the makers of the coarse fields that `given` describes, and to
    those of the training data.
    """
    record = {
        "settings": settings,
        "arguments": dict(module.hparams),
        "trained_on": module.home.fingerprint,
        **versions(),
    }
    return {
        "title": "Ensemble super-resolution by fdsr",
        "source": f"{type(module).__name__}, {module.evaluations_per_member} network evaluations a member, seed {settings['seed']}",
        "history": f"fdsr {code_version()}, training data {module.home.fingerprint}",
        **({"input_source": str(given["source"])} if isinstance(given.get("source"), str) else {}),
        **owed(given),
        **{f"training_{name}": text for name, text in (module.home.owed or {}).items()},
        "fdsr_model": settings["model"],
        "fdsr_record": json.dumps(record, default=str),
    }
