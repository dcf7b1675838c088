"""A setting that the parser, Lightning or torch refuses: one line, which says which setting, and what it should have been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from fdsr.errors import FdsrError
from fdsr.modules.network import NetworkModule
from fdsr.training.refusals import require_files, require_output

Refused = Callable[..., str]
Configure = Callable[..., Path]

# (arguments, the beginning of what is said after "configuration: ")
BY_THE_PARSER = [
    ("--data.init_args.patch=8", "data.patch: expected [integer, integer] or null, not '8'"),
    ("--data.init_args.patch=[8]", "data.patch: expected [integer, integer] or null, not '[8]'"),
    ("--data.init_args.variables=t2m", "data.variables: expected list, not 't2m'"),
    ("--data.init_args.split={train: {from: 2020}}", "data.split: expected"),
    ("--data.init_args.crop=[1,2,3]", "data.crop: expected [number, number, number, number] or null, not"),
    ("--model.init_args.lr=fast", "model.lr: expected number, not 'fast'"),
    ("--model.init_args.noise.init_args.exponent=x", "model.noise"),
    ("--model.init_args.widht=8", "model: Option 'widht' is not accepted by fdsr.modules.FourierDDPMModule"),
    ("--model.class_path=fdsr.modules.GANModule", "model: module 'fdsr.modules' has no attribute 'GANModule'"),
    ("--model.init_args.backbone=unett", "model.backbone: unknown backbone 'unett'; available: dit, "),
    ("--trainer.callbacks+=NoSuch", "trainer.callbacks: 'NoSuch' is neither a class nor a file"),
    ("--trainer.detect_anomaly=maybe", "trainer.detect_anomaly: expected true or false, not 'maybe'"),
    ("--trainer.precision=17", "trainer.precision: expected 64, 32, 16, transformer-engine"),
    ("--compile.mode=fast", "compile.mode: expected default, reduce-overhead, max-autotune or null, not 'fast'"),
    ("--seed_everything=x", "seed_everything: expected true, false or integer, not 'x'"),
    ("--trainer.max_stepps=3", "unrecognized arguments: --trainer.max_stepps=3"),
]


@pytest.mark.parametrize(("argument", "words"), BY_THE_PARSER, ids=lambda text: text.split("=")[0].lstrip("-"))
def test_by_the_parser(refused: Refused, configure: Configure, tmp_path: Path, argument: str, words: str) -> None:
    said = refused("fit", "--config", configure(), "--run", tmp_path / "run", argument)
    assert said.startswith(f"configuration: {words}") and len(said) < 400


BY_LIGHTNING_AND_TORCH = [
    ("--trainer.val_check_interval=500", "`val_check_interval` (500) must be less than or equal to"),
    ("--trainer.overfit_batches=2", "trainer.overfit_batches"),
    (
        "--trainer.precision=bf16-true",
        "trainer.precision bf16-true would round weights, tables and scores; use bf16-mixed",
    ),
    ("--trainer.strategy=ddpp", "You selected an invalid strategy name: `strategy='ddpp'`"),
    ("--trainer.accelerator=gppu", "You selected an invalid accelerator name: `accelerator='gppu'`"),
    ("--trainer.devices=-3", "`devices` selected with `CPUAccelerator` should be an int > 0"),
    ("--trainer.num_nodes=0", "`num_nodes` must be a positive integer"),
    ("--trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches is 0; it must be at least 1"),
    ("--trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch is 0; it must be at least 1"),
    ("--trainer.max_time=5", "`Timer(duration='5')` is not a valid duration"),
    ("--seed_everything=-1", "seed_everything: -1 is not in bounds"),
    ("--data.init_args.batch_size=0", "data.batch_size is 0; it must be at least 1"),
    ("--trainer.val_check_interval=0", "trainer.val_check_interval is 0; switch validation off by"),
    ("--trainer.gradient_clip_val=-1", "trainer.gradient_clip_val is -1; it must be at least 0"),
    ("--data.init_args.cached_steps=0", "data.cached_steps is 0; it must be at least 1"),
    ("--data.init_args.prefetch=-1", "data.prefetch is -1; it must be at least 0"),
    ("--model.init_args.members=0", "model.members is 0; it must be at least 1"),
    (
        "--model.init_args.backbone_args={width: x}",
        "model.backbone: backbone 'unet': width is 'x'; it must be a number",
    ),
    ("--model.init_args.lr=-1", "model.lr is -1.0; it must be at least 0"),
]


@pytest.mark.parametrize(("argument", "words"), BY_LIGHTNING_AND_TORCH, ids=lambda text: text.split("=")[0].lstrip("-"))
def test_by_lightning_and_torch(
    refused: Refused, configure: Configure, tmp_path: Path, argument: str, words: str
) -> None:
    said = refused("fit", "--config", configure(), "--run", tmp_path / "run", argument)
    assert said.startswith(f"configuration: {words}")


def test_a_metric_that_nobody_logs(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    said = refused("fit", "--config", configure(), "--run", tmp_path / "run",
                   "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/loss")  # fmt: skip
    assert "Early stopping conditioned on metric `val/loss` which is not available" in said and "train_loss" in said


def test_the_best_checkpoint_has_a_name(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    for verb in ("fit", "test"):
        said = refused(verb, "--config", configure(), "--run", tmp_path / "run", "--ckpt_path", "best")
        assert "--checkpoint.monitor val_loss --checkpoint.save_top_k 1" in said


def test_too_little_memory(
    refused: Refused, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(NetworkModule, "training_step", full)
    assert "--data.init_args.batch_size" in refused("fit", "--config", configure(), "--run", tmp_path / "run")


def test_a_mistake_of_the_program_keeps_its_traceback(
    program: Callable[..., int], configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> None:
        torch.ones(2) @ torch.ones(3)

    monkeypatch.setattr(NetworkModule, "training_step", mistaken)
    with pytest.raises(RuntimeError, match="size"):
        program("fit", "--config", configure(), "--run", tmp_path / "run")


def test_time_alone_may_limit_a_training(program: Callable[..., int], configure: Configure, tmp_path: Path) -> None:
    """Its rate stays after the warm-up, since nobody knows the last step."""
    config, run = configure(trainer__max_steps=-1, trainer__max_time="00:00:00:02"), tmp_path / "run"
    assert program("fit", "--config", config, "--run", run) == 0
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    lr = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["lr"]
    assert checkpoint["global_step"] > 3 and checkpoint["lr_schedulers"][0]["_last_lr"] == [lr]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89HDF\r\n\x1a\n", "is no YAML that can be read: 'utf-8' codec"),
        (b"model:\t- [", "is no YAML that can be read: .*line 1"),
        (b"- 1", "holds no settings"),
        (b"", "holds no settings"),
        (b"trainer:\n  max_steps: 3\n  max_steps: 4\n", "'max_steps' stands twice in line 2 and below"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(FdsrError, match=f"configuration '.*c.yaml' .*{words}") as refused:
        require_files(["fit", "--config", str(tmp_path / "c.yaml")])
    assert "\n" not in str(refused.value)


def test_outputs_of_other_formats() -> None:
    with pytest.raises(FdsrError, match=r"written as Zarr \(\.zarr\) or NetCDF \(\.nc\), not as \.grib"):
        require_output("fine.grib")
    with pytest.raises(FdsrError, match=r"'s3://bucket/fine\.zarr' is a URL"):
        require_output("s3://bucket/fine.zarr")
    for name in ("fine.nc", "fine.zarr", "fine_0.25", None):
        require_output(name)


def test_settings_hold_over_files_wherever_they_stand(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    config = configure(trainer__max_steps=1)
    for arguments in (("--trainer.max_steps=-7", "--config", config), (f"--config={config}", "--trainer.max_steps=-7"),
                      ("--trainer.max_steps=-7", "-c", config)):  # fmt: skip
        assert "You passed in -7" in refused("fit", *arguments, "--run", tmp_path / "run")
    # of data whose class the file says
    assert "data.batch_size is 0" in refused(
        "fit", "--data.init_args.batch_size=0", "--config", config, "--run", tmp_path / "run"
    )
