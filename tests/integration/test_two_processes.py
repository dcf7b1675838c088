"""Two processes that really talk to each other (gloo): who trains on what, who evaluates what."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import two_processes
from processes import side_by_side
from synthetic import pair_config

from fdsr.data import PairStore, prepare

# training steps, validation and test fields: even, odd, and fewer fields than processes
SIZES = [(8, 2, 4), (7, 1, 3), (5, 3, 1)]


@pytest.mark.slow
def test_two_processes(source_path: str, tmp_path: Path) -> None:
    stores = [
        str(prepare(pair_config(source_path, split={"train": a, "val": b, "test": c}), tmp_path / f"{a}-{b}-{c}.zarr"))
        for a, b, c in SIZES
    ]
    side_by_side(two_processes.main, tmp_path, stores)
    first, second = (json.loads((tmp_path / f"rank{r}.json").read_text()) for r in (0, 1))
    for path, (train, _, test) in zip(stores, SIZES, strict=True):
        splits = PairStore(path).splits
        for whole_fields in (False, True):
            a, b = first[f"{path} {whole_fields}"], second[f"{path} {whole_fields}"]
            assert a["weight"] == b["weight"] != 0  # gradients met: both made the same number of steps
            draws = 1 if whole_fields else 3
            each = train * draws // 2 // 2 * 2  # whole batches of two
            for epoch in (0, 1):
                shares = [x["train"][epoch] for x in (a, b)]
                assert [len(s) for s in shares] == [each, each]
                seen = Counter(shares[0] + shares[1])
                assert set(seen) <= set(range(*splits["train"])) and max(seen.values()) <= draws
            for stage, block in (("val", "val"), ("test", "test"), ("predict", "test")):
                fields = sorted(i for x in (a, b) for batch in x[stage] for i in batch)
                # each once, none twice; but where fields are fewer than processes, these predict one together
                together = stage == "predict" and test < 2
                assert fields == sorted([*range(*splits[block])] * (2 if together else 1)), stage
                assert abs(len(a[stage]) - len(b[stage])) <= 1, stage
            assert a["sums"] == b["sums"] == [test]
        a, b = first[f"{path} method"], second[f"{path} method"]
        assert a == b and a["buffers"] > 0 and math.isfinite(a["val_loss"])
