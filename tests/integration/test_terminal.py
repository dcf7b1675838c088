"""What a newcomer's terminal shows: how far a run has come, its results, and warnings about the run, not advice on Lightning."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fdsr.training.advice import silence_advice

Program = Callable[..., int]
Configure = Callable[..., Path]


@pytest.fixture
def warned(program: Program) -> Callable[..., list[str]]:
    """warned("fit", …): every warning that the program would show; it ends well."""

    def run(*arguments: object) -> list[str]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("default")
            warnings.simplefilter("ignore", DeprecationWarning)  # as outside of tests
            assert program(*arguments) == 0
        return [str(w.message) for w in seen]

    return run


def test_a_gan_is_trained_without_advice(
    warned: Callable[..., list[str]], configure: Configure, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """Manual optimisation with checkpoints, a run begun anew in its folder, and no validation block."""
    config = configure("DDGANModule", checkpoint__every_n_train_steps=2, data__split={"train": 10, "test": 3})
    common = ("--config", config, "--run", tmp_path / "run")
    for more in ((), ("--overwrite",), ("--ckpt_path", "last", "--trainer.max_steps", "5")):
        assert warned("fit", *common, *more) == []
        said = capfd.readouterr()
        lines = [line for line in re.split(r"[\r\n]+", said.err) if line.strip()]
        assert [
            line for line in lines if not line.startswith(("preparing pairs", "local scale", "power over local scale"))
        ] == []
        assert said.out.split() == ["checkpoint:", str(tmp_path / "run/checkpoints/last.ckpt")]
    assert warned("test", *common) == []


def test_two_stages_are_trained_without_advice(
    warned: Callable[..., list[str]], configure: Configure, tmp_path: Path
) -> None:
    """The first stage is in evaluation mode, deliberately; that it fits the training block too well is said all the same."""
    assert warned("fit", "--config", configure("RegressionModule"), "--run", tmp_path / "first") == []
    second = configure(
        "DDPMModule", model__target="regression", model__regression_ckpt=str(tmp_path / "first/checkpoints/last.ckpt")
    )
    said = warned("fit", "--config", second, "--run", tmp_path / "second")
    assert all(text.startswith("the regression's error is") for text in said)


@pytest.mark.parametrize(
    "text",
    [
        "Found 2 NaN in the training block",
        "The regression's error is 3 times as large",
        "You passed `Trainer(accelerator='cpu', precision='16-mixed')` but AMP with fp16 is not supported on CPU.",
        "Be aware that when using `ckpt_path`, callbacks used to create the checkpoint need to be provided",
    ],
)
def test_other_warnings_are_shown(text: str) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        silence_advice()
        warnings.warn(text, stacklevel=1)
    assert [str(w.message) for w in seen] == [text]


def drawn(err: str) -> list[tuple[str, int, int]]:
    """(name, done, of) of every drawing of a bar."""
    found = re.findall(r"(\w+): +\d+%\|.*?\| (\d+)/(\d+) \[", err)
    return [(name, int(done), int(total)) for name, done, total in found]


def test_bars_count_what_is_left(
    program: Program,
    configure: Configure,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On standard error; of a training that goes on, from where it goes on."""
    monkeypatch.setattr("fdsr.training.progress._LOG", 0.0)  # no waiting between two drawings
    settings = {
        "trainer__enable_progress_bar": True,
        "trainer__val_check_interval": 2,
        "trainer__check_val_every_n_epoch": None,
    }
    config = configure(**settings, trainer__max_steps=5)
    common = ("--config", config, "--run", tmp_path / "run")
    assert program("fit", *common) == 0
    said = capfd.readouterr()
    bars = drawn(said.err)
    assert [bar for bar in bars if bar[0] == "training"][-1] == ("training", 5, 5)
    assert {bar[2] for bar in bars if bar[0] == "validation"} == {2} and "train_loss=" in said.err
    first, *_, last = said.out.splitlines()
    assert first.startswith("FourierDDPMModule: ") and first.endswith(f"run: {tmp_path / 'run'}")
    assert last == f"checkpoint: {tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"

    assert program("fit", *common, "--ckpt_path", "last", "--trainer.max_steps", "7") == 0
    bars = [bar for bar in drawn(capfd.readouterr().err) if bar[0] == "training"]
    assert bars[0] == ("training", 5, 7) and bars[-1] == ("training", 7, 7)
    for verb, name in (("test", "test"), ("predict", "prediction")):
        assert program(verb, *common) == 0
        said = capfd.readouterr()
        assert drawn(said.err)[-1] == (name, 3, 3) and "|" not in said.out


def test_a_training_in_epochs_counts_its_batches(
    program: Program, configure: Configure, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    config = configure("DressedModule", model__members=4, trainer__max_epochs=2, trainer__max_steps=-1)
    config.write_text(config.read_text().replace("enable_progress_bar: false", "enable_progress_bar: true"))
    assert program("fit", "--config", config, "--run", tmp_path / "run") == 0
    bars = drawn(capfd.readouterr().err)
    assert bars[-1][0] == "training" and bars[-1][1] == bars[-1][2] > 10


def test_a_test_of_images_says_what_it_measured(
    program: Program, configure: Configure, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    config = configure("DDGANModule")
    content = yaml.safe_load(config.read_text()) | {"data": {"class_path": "tiny_images.TinyImages"}}
    config.write_text(yaml.safe_dump(content))
    run = tmp_path / "run"
    common = ("--config", config, "--run", run)
    assert program("fit", *common) == 0 and program("test", *common) == 0
    assert "FIDCallback" in capfd.readouterr().out
    (run / "image_distances.jsonl").write_text(
        '{"stage": "test", "step": 3, "fid": 12.25, "seed": 0, "n_generated": 9}\n'
    )
    assert program("test", *common) == 0
    assert capfd.readouterr().out.splitlines()[:2] == ["fid 12.25", f"distances: {run / 'image_distances.jsonl'}"]
