from pathlib import Path

import numpy as np
import torch

from fdsr.metrics import FieldMetrics
from fdsr.metrics.results import scores_dataset
from fdsr.report.figures import draw_ranks


def scored_run(folder: Path, members: int) -> Path:
    """A run with the scores of random fields of two variables."""
    generator = torch.Generator().manual_seed(members)
    metrics = FieldMetrics(np.arange(10.0), np.arange(12.0), ["t2m", "u10"], members=members)
    metrics.update(*(torch.randn(shape, generator=generator) for shape in ((2, members, 2, 10, 12), (2, 2, 10, 12))))
    folder.mkdir()
    scores_dataset([metrics], {}, members, 2).to_netcdf(folder / "test_scores.nc", engine="scipy")
    return folder


def test_ensembles_have_a_figure_of_ranks_and_single_forecasts_none(tmp_path: Path) -> None:
    runs = [scored_run(tmp_path / str(m), m) for m in (1, 3, 5)]
    (tmp_path / "old").mkdir()  # a run from before scores were kept
    path = draw_ranks([*runs, tmp_path / "old"], tmp_path / "ranks.png")
    assert path == tmp_path / "ranks.png" and path.stat().st_size > 5000
    assert draw_ranks([runs[0], tmp_path / "old"], tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()
