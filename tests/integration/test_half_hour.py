"""The half hour of a GPU, rehearsed at toy size: parts are carried, points train side by side, results come home."""

from __future__ import annotations

import importlib.util
import signal
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "experiments" / "half_hour"
TINY = {
    "data.init_args.folder": "{images}",
    "data.init_args.verify": False,
    "data.init_args.batch_size": 8,
    "model.init_args.backbone_args": {"width": 8, "multipliers": [1], "blocks": 1, "patch_size": 4},
    "trainer.enable_progress_bar": False,
}
FRECHET = {"class_path": "fdsr.callbacks.FIDCallback", "init_args": {"n_images": 8, "grid": 4, "against_test": False}}
CRITIC = {"model.init_args.discriminator_args": {"width": 8, "multipliers": [1, 2], "stem": 4, "stem_stride": 2}}
KEYS = {"divergence": "model.init_args.divergence", "T": "model.init_args.timesteps", "seed": "seed_everything"}


@pytest.fixture(scope="module")
def scripts() -> dict[str, ModuleType]:
    found = {}
    for name in ("parts", "run"):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        found[name] = importlib.util.module_from_spec(spec)
        sys.modules[name] = found[name]
        spec.loader.exec_module(found[name])
    return found


def images(folder: Path, n: int = 64) -> Path:
    """The four IDX files, of random images."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        pixels, labels = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)
        head = np.array([2051, n, 28, 28], ">i4").tobytes()
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(np.array([2049, n], ">i4").tobytes() + labels.tobytes())
    return folder


def test_parts_are_within_their_limits_and_the_weights_whole_again(
    scripts: dict[str, ModuleType], tmp_path: Path
) -> None:
    weights = tmp_path / "inception.pth"
    weights.write_bytes(np.random.default_rng(1).bytes(300_000))
    scripts["parts"].pack(tmp_path / "parts", images(tmp_path / "images"), None, weights, [0.25, 0.1, 0.2])
    work = tmp_path / "work"
    for i, limit in enumerate((0.25, 0.1, 0.2)):
        part = tmp_path / "parts" / str(i)
        assert (
            sum(p.stat().st_size for p in part.glob("*ubyte")) + sum(p.stat().st_size for p in part.glob("weights.0*"))
            <= limit * 2**20
        )
        assert not (work / "inception.pth").exists()
        scripts["parts"].take(part, work)
    assert (work / "inception.pth").read_bytes() == weights.read_bytes()
    assert scripts["parts"].weights_of(work) == work / "inception.pth"
    assert {p.name for p in (work / "images").iterdir()} == {p.name for p in (tmp_path / "images").iterdir()}


def test_what_does_not_fit_is_said(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"does not fit into any part; raise --limits"):
        scripts["parts"].pack(tmp_path / "parts", images(tmp_path / "images"), None, None, [0.01])


@pytest.mark.slow
def test_the_whole_at_toy_size(scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, work, sweeps = scripts["run"], tmp_path / "work", tmp_path / "sweeps"
    scripts["parts"].pack(tmp_path / "parts", images(tmp_path / "images"), None, None, [1])
    scripts["parts"].take(tmp_path / "parts" / "0", work)
    sweeps.mkdir()
    common = {"table": "fid_vs_steps", "keys": KEYS, "settings": TINY, "test": {"trainer.callbacks": [FRECHET]}}
    blocks = [
        {"method": "ddpm", "config": str(FOLDER.parent / "ddpm_fashion.yaml"), "fit": {"trainer.max_steps": 2},
         "grid": {"T": [20], "seed": [0]}},
        {"method": "ddgan", "config": str(FOLDER.parent / "ddgan_fashion.yaml"), "settings": CRITIC,
         "fit": {"trainer.max_steps": "{gan_steps}"}, "grid": {"divergence": ["gan"], "T": [2], "seed": [0]}},
    ]  # fmt: skip
    (sweeps / "study.yaml").write_text(yaml.safe_dump(common | {"blocks": blocks}, sort_keys=False))
    monkeypatch.setenv("FDSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "HERE", sweeps)
    handler = signal.getsignal(signal.SIGTERM)
    try:  # in this process, as `start` does in the background
        run.run(work, "study", ["ddpm*"], ["ddgan*"], jobs=2, minutes=5.0, constants='{"gan_steps": 2}')
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert not run.alive(work)
    assert len((work / "study/fid_vs_steps.csv").read_text().splitlines()) == 3

    # the benchmarks have tests of their own
    monkeypatch.setattr(run.subprocess, "run", lambda *args, **kwargs: None)
    run.finish(work, tmp_path / "home", part=15, benchmarks=True)
    names = []
    for packed in (tmp_path / "home").iterdir():
        with tarfile.open(packed) as archive:
            names += archive.getnames()
    assert {"study/fid_vs_steps.csv", "models/study/ddgan-divergence=gan-T=2-seed=0/model.safetensors"} <= set(names)
    assert any(n.endswith("ddpm-T=20-seed=0/run.json") for n in names) and not any(n.endswith(".ckpt") for n in names)
