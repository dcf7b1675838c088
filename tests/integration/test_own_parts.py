"""A method, networks, loss, sampler and noise of a user's own, in a package that only the working directory or PYTHONPATH knows."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from synthetic import run_config

from fdsr.data import WeatherBatch
from fdsr.modules import load_module

ROOT = Path(__file__).parents[2]
# commands one after the other in one process, whose statuses are its last words; begun as what pip installs as the command `fdsr`:
# Python puts the script's folder on the path, not the working directory
SCRIPT = "import sys\n\nfrom fdsr.cli import main\n\nprint([main(command) for command in eval(sys.argv.pop(1))])\n"
PACKAGE = {
    "methods": '''
        from typing import Any

        from fdsr.modules import DDGANModule, DDPMModule

        class Patient(DDPMModule):
            """DDPM that takes its time.

            Args:
                patience: factor of the loss.
                kwargs: what DDPMModule takes.
            """

            def __init__(self, patience: float = 1.0, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.patience = patience

            def loss(self, batch, rng):
                return self.patience * super().loss(batch, rng)

        class Rival(DDGANModule):
            """A GAN.

            Args:
                kwargs: what DDGANModule takes.
            """

            def __init__(self, **kwargs: Any) -> None:
                super().__init__(**kwargs)
        ''',
    "nets": '''
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self, in_channels: int, out_channels: int, width: int = 8, latent_dim: int = 1) -> None:
                super().__init__()
                self.body = nn.Sequential(
                    nn.Conv2d(in_channels + 1, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, out_channels, 3, padding=1)
                )
                self.latent = nn.Linear(latent_dim, 1)

            def forward(self, x, t, *, wrap=False, z=None):
                extra = torch.as_tensor(t, device=x.device).reshape(-1, 1) / 1000 + (0 if z is None else self.latent(z))
                return self.body(torch.cat([x, extra[..., None, None].expand(len(x), 1, *x.shape[2:])], 1))

        class Critic(nn.Module):
            def __init__(self, in_channels: int, width: int = 8) -> None:
                super().__init__()
                self.body = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 1, 1))

            def forward(self, x, t, *, wrap=False):
                return self.body(x).mean((1, 2, 3))
        ''',
    "parts": '''
        from dataclasses import dataclass

        import torch

        from fdsr.diffusion import ErrorLoss, Noise, Sampler, timesteps

        @dataclass(frozen=True)
        class Pink(Noise):
            """Noise that falls with the wavenumber.

            Args:
                slope: how steeply.
            """

            slope: float = 1.0

            def variance(self, spectrum, shape):
                c = (spectrum.transform.wavenumber(shape) + 0.1) ** -self.slope
                return (c / c.mean())[None]

        @dataclass(frozen=True)
        class Quartic(ErrorLoss):
            """Mean fourth power.

            Args:
                scale: its factor.
            """

            scale: float = 1.0

            def norm(self, error, process):
                return self.scale * error.pow(4).mean()

        @dataclass(frozen=True)
        class Midway(Sampler):
            """DDIM's step, each evaluated twice.

            Args:
                steps: steps.
            """

            steps: int = 2

            def times(self, schedule):
                return timesteps(schedule, self.steps)

            def evaluations(self, schedule):
                return 2 * self.steps

            def __call__(self, denoise, noise, process):
                x = noise()
                for t, s in self.intervals(process):
                    now, then = (torch.full((len(x),), v) for v in (t, s))
                    x_0 = (denoise(x, now) + denoise(x, now)) / 2
                    x = x_0 if s == 0 else process.q_sample(x_0, then, process.eps_from_x_0(x, now, x_0))
                return x
        ''',
}  # fmt: skip
OWN: dict[str, Any] = {
    "patience": 0.5,
    "backbone": "ownlab.nets.Net",
    "backbone_args": {"width": 6},
    "noise": {"class_path": "ownlab.parts.Pink", "init_args": {"slope": 0.5}},
    "loss": {"class_path": "ownlab.parts.Quartic", "init_args": {"scale": 2.0}},
    "sampler": {"class_path": "ownlab.parts.Midway", "init_args": {"steps": 3}},
    "members": 2,
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the package `ownlab` in it, which this process can import as well."""
    package = tmp_path / "lab" / "ownlab"
    package.mkdir(parents=True)
    for name, code in PACKAGE.items():
        (package / f"{name}.py").write_text(textwrap.dedent(code))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fdsr").write_text(SCRIPT)
    monkeypatch.syspath_prepend(package.parent)
    yield package.parent
    for name in [name for name in sys.modules if name.partition(".")[0] == "ownlab"]:
        del sys.modules[name]


@pytest.fixture
def fdsr(lab: Path, world: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """fdsr([verb, …], …): commands as a user starts them, in the package's folder unless told otherwise; ends with their statuses."""

    def run(*commands: list[object], cwd: Path = lab) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT), "FDSR_CACHE": str(world / "cache"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        words = [[str(word) for word in command] for command in commands]
        command = [sys.executable, str(lab.parent / "bin" / "fdsr"), repr(words)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=400)

    return run


def written(path: Path, source: str, method: str, arguments: dict[str, Any]) -> Path:
    """A configuration of `method` on the tiny source."""
    config = run_config(source, method) | {"model": {"class_path": f"ownlab.methods.{method}", "init_args": arguments}}
    path.write_text(yaml.safe_dump(config))
    return path


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0 and set(statuses(done)) == {0}, done.stderr[-3000:]
    return done.stdout


def statuses(done: subprocess.CompletedProcess[str]) -> list[int]:
    found: list[int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_every_verb_takes_a_users_own_parts(
    fdsr: Callable[..., Any], lab: Path, source_path: str, field_batch: WeatherBatch, tmp_path: Path,
    program: Callable[..., int], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = written(lab / "own.yaml", source_path, "Patient", OWN)
    run, ckpt = lab / "runs" / "own", lab / "runs" / "own" / "checkpoints" / "last.ckpt"
    succeeded(fdsr(*([verb, "--config", config] for verb in ("fit", "test", "predict"))))
    rows = list(csv.DictReader((run / "test_metrics.csv").open()))
    assert rows and {row["nfe"] for row in rows} == {"6"}  # as the sampler counts
    assert (run / "prediction.zarr").is_dir()

    # what the checkpoint says of itself, and the module that comes back
    saved = torch.load(ckpt, weights_only=True)
    assert saved["fdsr_class"] == "ownlab.methods.Patient"
    assert {k: saved["hyper_parameters"][k] for k in OWN} == OWN
    module: Any = load_module(ckpt)
    assert type(module).__name__ == "Patient" and module.patience == 0.5 and module.evaluations_per_member == 6
    assert (module.noise.slope, module.objective.scale, type(module.network).__name__) == (0.5, 2.0, "Net")
    expected = module.generate(field_batch, 2, 3)

    # a folder to share is written from anywhere that knows the package, and nowhere else
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lost = fdsr(["export", ckpt, "shared"], cwd=elsewhere)
    assert statuses(lost) == [2] and len(lost.stderr.splitlines()) == 1
    assert "'ownlab.methods.Patient' cannot be imported" in lost.stderr and not (elsewhere / "shared").exists()
    monkeypatch.chdir(elsewhere)
    assert program("export", ckpt, "shared") == 0  # this process knows it
    assert json.loads((elsewhere / "shared" / "config.json").read_text())["class"] == "ownlab.methods.Patient"
    assert torch.equal(load_module(elsewhere / "shared").generate(field_batch, 2, 3), expected)

    study = {
        "table": "test_metrics",
        "keys": {"slope": "model.init_args.noise.init_args.slope", "seed": "seed_everything"},
        "fit": {"trainer.max_steps": 1},
        "blocks": [{"method": "patient", "config": "own.yaml", "grid": {"slope": [1.5], "seed": [0]}}],
    }
    (lab / "study.yaml").write_text(yaml.safe_dump(study))
    name = "patient-seed=0-slope=1.5"
    monkeypatch.chdir(lab)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert program("sweep", "study.yaml") == 0 and program("report", "runs/own", "runs/study", "--output", "page") == 0
    points = sorted(p.parents[1] for p in (lab / "runs" / "study").glob("patient-*/checkpoints/last.ckpt"))
    slopes = [load_module(p / "checkpoints" / "last.ckpt").hparams["noise"]["init_args"]["slope"] for p in points]
    assert [p.name for p in points] == [name] and slopes == [1.5]
    assert all(word in (lab / "page" / "report.html").read_text() for word in ("own", name))


def test_help_of_a_users_own_method(lab: Path, program: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program("fit", "--model.help", "ownlab.methods.Patient")
    assert "factor of the loss. (type: float, default: 1.0)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_users_own_discriminator(
    fdsr: Callable[..., Any], lab: Path, source_path: str, field_batch: WeatherBatch
) -> None:
    own = {"backbone": "ownlab.nets.Net", "backbone_args": {"width": 4}, "discriminator": "ownlab.nets.Critic",
           "discriminator_args": {"width": 5}, "latent_dim": 3, "timesteps": 2, "members": 2}  # fmt: skip
    config = written(lab / "rival.yaml", source_path, "Rival", own)
    refused = ["fit", "--config", config, "--run", "other", "--model.discriminator_args.depth=3"]
    done = fdsr(["fit", "--config", config], ["test", "--config", config], refused)
    assert statuses(done) == [0, 0, 2]
    module: Any = load_module(lab / "runs" / "rival" / "checkpoints" / "last.ckpt")
    assert (type(module).__name__, type(module.discriminator).__name__) == ("Rival", "Critic")
    assert module.discriminator.body[0].out_channels == 5 and module.generate(field_batch, 2, 0).isfinite().all()
    assert "discriminator 'ownlab.nets.Critic' has no setting depth; it accepts: width" in done.stderr.splitlines()[-1]
