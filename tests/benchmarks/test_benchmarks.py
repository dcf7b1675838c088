"""The speed benchmarks run, compare equals, and write their tables; how fast, only a full run on a quiet machine can say."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import bench_inference
import bench_networks
import bench_sampling
import bench_scaling

sys.path.pop(0)


@pytest.mark.slow
def test_networks_are_matched_and_tabulated(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("denoising_diffusion_pytorch", reason="pip install 'fdsr[bench]'", exc_type=ImportError)
    bench_networks.main(["--output", str(tmp_path), "--rounds", "1", "--batch", "2", "--shapes", "1x32x32"])
    rows = list(csv.DictReader((tmp_path / "speed.csv").open()))
    assert {row["implementation"].split()[0] for row in rows} == {"fdsr", "diffusers", "denoising-diffusion-pytorch"}
    assert {row["what"] for row in rows} == {"training step", "sampling step"}
    for column in ("parameters", "gflop_per_image"):
        values = [float(row[column]) for row in rows]
        assert max(values) < 1.1 * min(values)
    assert all(float(row["images_per_second"]) > 0 for row in rows)


def test_operations_are_counted_as_two_for_a_multiply_add() -> None:
    conv = torch.nn.Conv2d(3, 5, 3, padding=1)
    entry = bench_networks.Contestant(conv, lambda x, t: conv(x))
    assert bench_networks.gflop(entry, torch.zeros(4, 3, 8, 8)) == pytest.approx(2 * 3 * 5 * 9 * 64 / 1e9)


@pytest.mark.slow
def test_two_ranks_move_the_gradients_once(tmp_path: Path) -> None:
    arguments = ["--ranks", "2", "--batch", "1", "--steps", "1", "--size", "8", "--variants"]
    bench_scaling.main(["--output", str(tmp_path), *arguments])
    (row,) = csv.DictReader((tmp_path / "scaling.csv").open())
    parameters = sum(p.numel() for p in bench_scaling.make(4).parameters())
    assert float(row["gradient_megabytes_per_step"]) == pytest.approx(4 * parameters / 1e6, abs=0.01)


@pytest.mark.slow
def test_samplers_are_timed_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few of a DDPM's thousand steps, which would take minutes."""
    points = bench_sampling.contestants

    def shortened(*arguments: Any) -> Iterator[tuple[str, Any, Any]]:
        for method, T, module in points(*arguments):
            if method.startswith("ddpm"):
                module.sampler = replace(module.sampler, steps=min(module.evaluations_per_member, 12))
            yield method, T, module

    monkeypatch.setattr(bench_sampling, "contestants", shortened)
    bench_sampling.main(["--output", str(tmp_path), "--rounds", "1", "--batch", "2", "--members", "1"])
    rows = list(csv.DictReader((tmp_path / "sampling.csv").open()))
    for study, rivals in (("images", {"ddpm"}), ("weather", {"ddpm", "onepass_local"})):
        times = {(row["method"], row["nfe"]): float(row["times_ddgan"]) for row in rows if row["study"] == study}
        assert times["ddgan", "4"] == 1 and rivals < {method for method, _ in times}
        # what has fewer evaluations of the same network is faster
        assert all((times[key] < 1) == (int(key[1]) < 4) for key in times if key != ("ddgan", "4"))
        assert all(float(row["least"]) <= float(row["times_ddgan"]) <= float(row["most"]) for row in rows)


@pytest.mark.slow
def test_inference_is_timed_and_a_globe_drawn_in_tiles(
    tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers")
    monkeypatch.setenv("FDSR_CACHE", str(world / "cache"))
    few = ["--output", str(tmp_path), "--members", "1", "--steps", "1"]
    bench_inference.main([*few, "--rounds", "1"])
    rows = {row["what"]: row for row in csv.DictReader((tmp_path / "inference.csv").open())}
    cost = {what: float(row["member_gflop"]) for what, row in rows.items()}
    assert cost["diffusers"] == pytest.approx(cost["fdsr"], rel=0.1)
    assert cost["fdsr, tiles of 128²"] > cost["fdsr"] == cost["plain loop"] and float(rows["fdsr"]["times_fdsr"]) == 1
    bench_inference.main([*few, "--globe", "--size", "96", "192", "--tile", "48x48+8"])
    (row,) = csv.DictReader((tmp_path / "globe.csv").open())
    assert "96 × 192 points in 2 × 4 tiles" in row["tiles"] and float(row["megabytes"]) > 0
