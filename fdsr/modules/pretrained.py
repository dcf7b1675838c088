"""Modules from files: Lightning checkpoints, and small self-contained folders to share."""

from __future__ import annotations

import importlib
import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fdsr import __version__
from fdsr.atomic import written_whole
from fdsr.errors import FdsrError, one_line
from fdsr.modules.downscaling import CLASS_KEY, KIND_KEY, SPEC_KEY, DownscalingModule, read_stage
from fdsr.modules.first_stage import FirstStage
from fdsr.modules.kinds import Spec, kind_of, read_spec
from fdsr.modules.settings import build, import_path

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A Lightning checkpoint as plain containers and tensors. One that carries code is refused."""
    if not Path(path).is_file():
        raise FdsrError(f"checkpoint '{path}' does not exist; train first (fdsr fit) or give --ckpt_path")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FdsrError(
            f"checkpoint '{path}' carries code or foreign objects and was not loaded; use one written by fdsr"
        ) from error
    except Exception as error:  # bytes that are no checkpoint make the unpickler fail in any way
        raise FdsrError(
            f"checkpoint '{path}' is not a readable checkpoint ({str(error).partition(chr(10))[0] or 'it is empty'})"
        ) from error
    if SPEC_KEY not in checkpoint:
        raise FdsrError(f"checkpoint '{path}' holds no grid or statistics; it was not written by fdsr")
    return checkpoint


def load_module(path: str | Path) -> DownscalingModule:
    """The method saved at `path`, a checkpoint file or a folder of `save_pretrained`, with its averaged weights, in eval mode."""
    path = Path(path)
    if path.is_dir():
        name, hyperparameters, spec, stage, state = _read_folder(path)
    else:
        checkpoint = read_checkpoint(path)
        name, hyperparameters = checkpoint[CLASS_KEY], checkpoint["hyper_parameters"]
        spec = read_spec(checkpoint[SPEC_KEY], checkpoint.get(KIND_KEY, "fields"))
        stage, state = read_stage(checkpoint), checkpoint["state_dict"]
    method = _module_class(name)
    with _of_this_version(path):
        module = build(method, hyperparameters, "its settings")
        module.attach(spec, stage)
        module.load_state_dict(state)
    return module.eval()


@contextmanager
def _of_this_version(path: Path) -> Iterator[None]:
    """One line that names the model and the version where settings or weights are not understood."""
    try:
        yield
    except (FdsrError, RuntimeError) as error:
        if isinstance(error, FdsrError) and error.__cause__ is None:  # of something else that it needs
            raise
        raise FdsrError(
            f"'{path}' cannot be loaded: {one_line(error)}; was it saved by another version of fdsr than {__version__}?"
        ) from error


def save_pretrained(module: DownscalingModule, folder: str | Path, beside: Mapping[str, str] | None = None) -> Path:
    """Write `module` to `folder`: weights and statistics as safetensors, configuration and kind as JSON. Loads without this run.

    Of the two fields of local scale, each as large as the place, the one that the method uses is written, in single precision.
    `beside`: texts by the names of files to stand there too.
    """
    folder = Path(folder)
    if folder.exists():
        raise FdsrError(f"folder '{folder}' exists already; remove it or choose another")
    spec = module.home.to_dict()
    if not module.needs_local_scale:
        spec.pop("local_scale", None)
    tensors = {f"model.{k}": v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}
    tensors |= {f"spec.{k}": v.contiguous().clone() for k, v in spec.items() if isinstance(v, Tensor)}
    stage = module.codec.stage.to_dict() if module.codec.stage is not None else {}
    if stage:
        stage["local_scale"] = stage["local_scale"].float()
    tensors |= {f"stage.{k}": v.contiguous().clone() for k, v in stage.items() if isinstance(v, Tensor)}
    config = {
        "class": import_path(type(module)),
        "hyper_parameters": dict(module.hparams),
        "spec_kind": kind_of(module.home),
        "spec": {k: v for k, v in spec.items() if not isinstance(v, Tensor)},
    }
    if stage:
        config["stage"] = {k: v for k, v in stage.items() if not isinstance(v, Tensor)}
    try:
        with written_whole(folder) as partial:
            partial.mkdir()
            save_file(tensors, str(partial / WEIGHTS))
            (partial / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
            for name, text in (beside or {}).items():
                (partial / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FdsrError(
            f"folder '{folder}' cannot be written: {error.strerror or error}; choose a writable place"
        ) from error
    return folder


def _read_folder(folder: Path) -> tuple[str, dict[str, Any], Spec, FirstStage | None, dict[str, Tensor]]:
    try:
        config = json.loads((folder / CONFIG).read_text())
        tensors = load_file(str(folder / WEIGHTS))
    except OSError as error:
        raise FdsrError(f"'{folder}' is not a model folder: {error.strerror or error}") from error
    except (ValueError, SafetensorError) as error:
        raise FdsrError(f"model folder '{folder}' is damaged: {one_line(error)}; copy it again") from error

    def part(name: str) -> dict[str, Tensor]:
        return {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}.")}

    spec = read_spec(config["spec"] | part("spec"), config.get("spec_kind", "fields"))
    stage = FirstStage.from_dict(config["stage"] | part("stage")) if "stage" in config else None
    return config["class"], config["hyper_parameters"], spec, stage, part("model")


def _module_class(path: str) -> type[DownscalingModule]:
    """The method that `path` names; one of a user's own is imported as Python finds it."""
    module, _, name = path.rpartition(".")
    if not module:
        raise FdsrError(f"the checkpoint was written by an earlier version of fdsr (method '{name}'); train it again")
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise FdsrError(
            f"the checkpoint's method '{path}' cannot be imported ({error}); start Python where '{module}' is found"
        ) from error
    for method in DownscalingModule.classes:
        if method.__name__ == name and path in (import_path(method), f"{method.__module__}.{name}"):
            return method
    raise FdsrError(
        f"the checkpoint was written by '{path}', which is no method here; is it of another version of fdsr?"
    )
