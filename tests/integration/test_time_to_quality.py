"""Quality against seconds of training: what trainings logged, second stages after their first, and when the reference is met."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch

from fdsr.callbacks.run_record import RunRecord
from fdsr.records import RunFolder

SCRIPT = Path(__file__).parents[2] / "experiments" / "time_to_quality.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("time_to_quality", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def training(runs: Path, method: str, scores: list[tuple[float, float, float]], first: str | None = None) -> None:
    """A run whose every validation, at seconds, had these CRPS and LSD of `a`."""
    run = RunFolder(runs / method)
    stage = f"{runs}/{first}/checkpoints/last.ckpt" if first else None
    run.describe(method, {})
    run.begin("fit", {}, f"model: {{init_args: {{regression_ckpt: {stage or 'null'}}}}}\n")
    run.add("fit", {"seconds": scores[-1][0]})
    for step, (seconds, crps, lsd) in enumerate(scores, start=1):
        run.metrics.append({"step": step, "fdsr/crps/a": crps, "fdsr/lsd/a": lsd})
        run.metrics.append({"step": step, "train_seconds": seconds})


def test_curves_and_when_each_method_is_as_good(script: ModuleType, tmp_path: Path, capsys: Any) -> None:
    runs, bicubic = tmp_path / "runs", RunFolder(tmp_path / "bicubic")
    bicubic.path.mkdir()
    bicubic.table.write(
        [{"metric": "mae", "variable": "a", "value": 2.0}, {"metric": "rmse", "variable": "a", "value": 9.0}]
    )
    training(runs, "ddpm", [(10, 1.6, 4.0), (20, 1.2, 3.0)])
    training(runs, "fast", [(5, 1.1, 3.5), (9, 1.0, 3.2)])
    training(runs, "second", [(10, 1.15, 2.0)], first="fast")
    script.main([str(runs), str(bicubic), str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "ddpm: crps after 20 s, lsd after 20 s; ends at 0.600, 3.00 dB after 20 s" in said
    assert "fast: crps after 5 s, lsd not; ends at 0.500, 3.20 dB after 9 s" in said
    assert "second: crps after 19 s, lsd after 19 s" in said  # its first stage took 9
    table = pd.read_csv(tmp_path / "out/time_to_quality.csv")
    assert len(table) == 5 and set(table) == {"method", "step", "seconds", "crps", "lsd"}
    assert (tmp_path / "out/time_to_quality.png").stat().st_size > 5000


class Slow(L.LightningModule):
    """A batch takes no time, a validation a quarter of a second."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any) -> torch.Tensor:
        return self.layer(batch["index"].float()[:, None]).square().mean()

    def validation_step(self, batch: Any) -> None:
        time.sleep(0.25)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def test_validations_do_not_count_as_training(tmp_path: Path) -> None:
    batches = torch.utils.data.DataLoader([{"index": i} for i in range(4)], batch_size=1)
    record = RunRecord(tmp_path, "slow", "")
    trainer = L.Trainer(
        max_epochs=1, val_check_interval=2, callbacks=[record], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", num_sanity_val_steps=0,
    )  # fmt: skip
    record._write = lambda *args: RunFolder(tmp_path).begin("fit", {}, "")  # type: ignore[method-assign]
    trainer.fit(Slow(), batches, batches)
    # two validations of four batches: two seconds
    assert RunFolder(tmp_path).record.read()["fit"]["seconds"] < 1.0
