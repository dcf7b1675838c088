"""The notebook's code runs as it stands, and what it shows was made by that code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "downscale.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_it_was_executed_from_top_to_bottom_and_is_small() -> None:
    assert NOTEBOOK.stat().st_size < 500_000
    assert [cell["execution_count"] for cell in cells("code")] == list(range(1, len(cells("code")) + 1))
    kinds = {key for cell in cells("code") for out in cell["outputs"] for key in out.get("data", {})}
    assert "image/png" in kinds and not any(o["output_type"] == "error" for c in cells("code") for o in c["outputs"])


@pytest.mark.slow
def test_its_code_gives_its_printed_output(
    monkeypatch: pytest.MonkeyPatch, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.setenv("FDSR_CACHE", str(world / "cache"))
    monkeypatch.chdir(NOTEBOOK.parent)
    names: dict[str, Any] = {}
    for cell in cells("code"):
        capsys.readouterr()
        exec(compile(source(cell), str(NOTEBOOK), "exec"), names)
        shown = "".join("".join(o["text"]) for o in cell["outputs"] if o.get("name") == "stdout")
        # scores are printed to three digits: other processors may round otherwise, so words are compared, not figures
        assert [w for w in capsys.readouterr().out.split() if w.isalpha()] == [w for w in shown.split() if w.isalpha()]
    members = names["members"]
    assert tuple(members.shape) == (1, 4, 4, 180, 360) and bool(members.isfinite().all())
    scores = names["scores"]
    assert (scores["ensemble"].crps < scores["bicubic"].mae).all()
    assert (scores["ensemble"].lsd < scores["bicubic"].lsd).all()
