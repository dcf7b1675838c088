"""Where the files of Fashion-MNIST are found, and that they are the right ones.

Xiao, Rasul and Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist (MIT licence): 60 000 training and 10 000
test images of clothes, 28 × 28, grey, ten classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import torch
from torch import Tensor
from tqdm import tqdm

from fdsr.atomic import written_whole
from fdsr.data.images.idx import parse_idx, read_unpacked
from fdsr.errors import FdsrError

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist

MIRRORS = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)

# sha256 of the unpacked files: packed ones differ between distributors
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_PREFIX = {"train": "train", "test": "t10k"}
_TIMEOUT_SECONDS = 60


class LabelledImages(NamedTuple):
    """Images (N, H, W) and labels (N,), both uint8."""

    images: Tensor
    labels: Tensor

    def fingerprint(self) -> str:
        """Hash of the images' size and values."""
        return hashlib.sha256(str(tuple(self.images.shape)).encode() + self.images.cpu().numpy().tobytes()).hexdigest()


def find_folder(folder: str | Path | None, cache: str | Path) -> Path | None:
    """The folder to read: the one asked for, the Debian package's, or the cache; None if the files must be downloaded.

    Raises FdsrError if `folder` is given and lacks a file.
    """
    if folder is not None:
        missing = _missing(Path(folder))
        if missing:
            raise FdsrError(f"'{folder}' lacks {', '.join(missing)} (or .gz); name the folder that holds the IDX files")
        return Path(folder)
    return next((place for place in (DEBIAN_FOLDER, Path(cache)) if not _missing(place)), None)


def download(cache: str | Path, mirrors: Sequence[str] = MIRRORS) -> Path:
    """Fetch what is missing into `cache`, each file verified before it takes its name."""
    folder = Path(cache)
    for name in _missing(folder):
        failures = []
        for mirror in mirrors:
            try:
                _fetch(f"{mirror}{name}.gz", folder / f"{name}.gz", SHA256[name])
                break
            except (FdsrError, URLError, OSError) as error:
                failures.append(f"{mirror}: {getattr(error, 'reason', None) or error}")
        else:
            raise FdsrError(
                f"Fashion-MNIST is not on this machine and {name}.gz cannot be downloaded ({'; '.join(failures)}); install the "
                "Debian package dataset-fashion-mnist, or set data.folder to a folder with the four IDX files"
            )
    return folder


def load(folder: str | Path, split: str, verify: bool = True) -> LabelledImages:
    """Read a split, train or test, of the files in `folder`; `verify=False` accepts another set in the same format."""
    names = (f"{_PREFIX[split]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    images, labels = (_read(Path(folder), name, verify) for name in names)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise FdsrError(f"'{folder}': images {tuple(images.shape)} and labels {tuple(labels.shape)} do not match")
    return LabelledImages(images, labels)


def _path(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _missing(folder: Path) -> list[str]:
    return [name for name in SHA256 if _path(folder, name) is None]


def _read(folder: Path, name: str, verify: bool) -> Tensor:
    path = _path(folder, name)
    if path is None:
        raise FdsrError(f"'{folder}' lacks {name} (or .gz); name the folder that holds the IDX files")
    data = read_unpacked(path)
    if verify and hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise FdsrError(f"'{path}' is not Fashion-MNIST's (sha256 differs); remove it, or set verify to false")
    return torch.from_numpy(parse_idx(data, path).copy())


def _fetch(url: str, path: Path, sha256: str) -> None:
    with written_whole(path) as partial:
        with urlopen(url, timeout=_TIMEOUT_SECONDS) as response, partial.open("wb") as file:
            size = int(response.headers.get("Content-Length") or 0) or None
            with tqdm(total=size, unit="B", unit_scale=True, desc=path.name) as progress:
                while block := response.read(2**18):
                    file.write(block)
                    progress.update(len(block))
        if hashlib.sha256(read_unpacked(partial)).hexdigest() != sha256:
            raise FdsrError("the file received has another sha256")
