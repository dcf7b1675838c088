"""Prepare a store larger than memory allows, and measure the peak: python tests/benchmarks/prepare_memory.py FOLDER

Writes a synthetic archive on ERA5's grid (721 × 1440, two variables, one hour a chunk, uncompressed), prepares pairs of factor 4
from it with `fdsr prepare`, and prints one row of a Markdown table. With --cluster the same runs on a Dask cluster of two worker
processes, the peak of each process is listed, and the two results are compared byte for byte. FOLDER is emptied of what was
written at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import zarr
from tqdm import tqdm

GRID = (721, 1440)
VARIABLES = ("t2m", "u10")


def write_archive(path: Path, steps: int) -> None:
    """Smooth fields that change with time, as CF Zarr."""
    group = zarr.create_group(str(path), overwrite=True)
    coordinates = {
        "time": (np.arange(steps), {"standard_name": "time", "units": "hours since 1990-01-01"}),
        "latitude": (np.linspace(90, -90, GRID[0]), {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": (np.arange(GRID[1]) / 4, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    for name, (values, attributes) in coordinates.items():
        group.create_array(name, data=values, dimension_names=[name], attributes=attributes)
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(8, *GRID)).astype(np.float32)
    for v, name in enumerate(VARIABLES):
        array = group.create_array(
            name, shape=(steps, *GRID), chunks=(1, *GRID), dtype="float32", compressors=None,
            dimension_names=list(coordinates), attributes={"units": ("K", "m s-1")[v]},
        )  # fmt: skip
        for i in tqdm(range(steps), desc=f"writing {name}"):
            array[i] = patterns[(i + v) % 8] + np.float32(0.01 * i)


def measured(command: list[str]) -> tuple[float, float]:
    """(seconds, peak resident memory in GB) of a command. Raises CalledProcessError if it fails."""
    begin = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)  # this child's alone
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.monotonic() - begin, usage.ru_maxrss * 1024 / 1e9


def own_peak() -> float:
    """Peak resident memory in GB of the process that asks: unlike ru_maxrss, without that of whoever started it."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e9


def digest(path: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(f for f in path.rglob("*") if f.is_file()):
        total.update(str(file.relative_to(path)).encode() + file.read_bytes())
    return total.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1500, help="hours (default 1500: 12.5 GB)")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--cluster", action="store_true", help="again on a cluster of two workers, and compare")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    archive, target = options.folder / "archive.zarr", options.folder / "pairs.zarr"
    command = [
        sys.executable, "-m", "fdsr.cli", "prepare", "--source", str(archive), "--variables", ",".join(VARIABLES), "--factor", "4",
        "--split", f"train={options.steps * 7 // 10},val={options.steps // 10},test={options.steps // 10}",
    ]  # fmt: skip
    try:
        # in a process of its own, so that this one, which is to hold the scheduler, stays small
        writer = multiprocessing.get_context("spawn").Process(target=write_archive, args=(archive, options.steps))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("the archive could not be written; see above")
        gigabytes = options.steps * len(VARIABLES) * 4 * GRID[0] * GRID[1] / 1e9
        seconds, peak = measured([*command, "--target", str(target), "--threads", options.threads])
        print("| how | source, GB | seconds | GB/s | peak resident, GB |\n| --- | --- | --- | --- | --- |")
        how, rate = f"{options.threads} threads of {os.cpu_count()} cores", gigabytes / seconds
        print(f"| {how} | {gigabytes:.1f} | {seconds:.0f} | {rate:.3f} | {peak:.2f} |", flush=True)
        if options.cluster:
            from distributed import Client, LocalCluster

            expected = digest(target)
            shutil.rmtree(target)
            with (
                LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
                Client(cluster) as client,
            ):
                address = cluster.scheduler_address
                seconds, peak = measured([*command, "--target", str(target), "--scheduler", address])
                workers = " and ".join(f"{p:.2f}" for p in client.run(own_peak).values())
            same = "the same bytes" if digest(target) == expected else "OTHER BYTES"
            peaks = f"workers {workers}, fdsr prepare {peak:.2f}, scheduler {own_peak():.2f}"
            print(f"| two workers: {same} | {gigabytes:.1f} | {seconds:.0f} | {gigabytes / seconds:.3f} | {peaks} |")
    finally:
        shutil.rmtree(archive, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)


if __name__ == "__main__":
    main()
