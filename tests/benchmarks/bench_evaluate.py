"""Time and memory of `evaluate` on a day of a large global ensemble, against the time to read the same data.

    python tests/benchmarks/bench_evaluate.py [--members 50] [--times 4] [--shape 721 1440] [--output FOLDER]

Makes a synthetic prediction and truth as Zarr stores in a temporary folder, reads them as `evaluate` does, without scoring,
and scores them, each in a process of its own, so that its peak memory is its own; then removes the stores. Reading and
scoring take turns, `--repeats` of each, and the medians are compared, of wall time and of processor time (which other
programs on the machine disturb less): absolute times depend on the machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr


def make(folder: Path, members: int, times: int, height: int, width: int) -> None:
    """Smooth fields with a red spectrum and small differences between members: what a store compresses like weather."""
    from zarr.codecs import BloscCodec

    rng = np.random.default_rng(0)
    lat, lon = np.linspace(90.0, -90.0, height), 360.0 / width * np.arange(width)
    k = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    amplitude = (k**2 + 0.01**2) ** -0.75

    def field(scale: float) -> np.ndarray:
        noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) * amplitude, s=(height, width))
        return (scale * noise / noise.std()).astype(np.float32)

    coordinates = {"lat": ("lat", lat), "lon": ("lon", lon)}
    start = np.datetime64("2020-01-01", "ns")
    encoding = {"compressors": [BloscCodec(cname="lz4", shuffle="shuffle")]}
    for t in range(times):
        centre = 280.0 + field(10.0)
        when = {"time": [start + np.timedelta64(24 // times * t, "h")]}
        fields = np.stack([centre + field(1.0) for _ in range(members + 1)])
        prediction = xr.Dataset({"t2m": (("time", "member", "lat", "lon"), fields[None, 1:])}, coordinates | when)
        truth = xr.Dataset({"t2m": (("time", "lat", "lon"), fields[None, 0])}, coordinates | when)
        for name, ds, chunk in (("prediction", prediction, (1, 1)), ("truth", truth, (1,))):
            chunks = (*chunk, height, width)
            first = {"t2m": encoding | {"chunks": chunks}, "time": {"units": "hours since 2020-01-01"}}
            mode = {"append_dim": "time"} if t else {"mode": "w", "encoding": first}
            ds.to_zarr(folder / f"{name}.zarr", zarr_format=3, consolidated=False, **mode)  # type: ignore[arg-type]


def read(folder: Path) -> float:
    """Seconds to read every time of every field once."""
    start = time.perf_counter()
    stores = [
        xr.open_zarr(folder / f"{name}.zarr", chunks=None, consolidated=False) for name in ("prediction", "truth")
    ]
    for i in range(stores[0].sizes["time"]):
        for ds in stores:
            ds["t2m"].isel(time=i).values.max()
    return time.perf_counter() - start


def score(folder: Path) -> float:
    """Seconds to evaluate."""
    from fdsr.metrics import evaluate

    start = time.perf_counter()
    stores = [
        xr.open_zarr(folder / f"{name}.zarr", chunks=None, consolidated=False) for name in ("prediction", "truth")
    ]
    result = evaluate(*stores)
    seconds = time.perf_counter() - start
    assert np.isfinite(result["crps"]).all()
    return seconds


def in_own_process(action: str, folder: Path) -> dict[str, float]:
    """Seconds of the clock and of the processor, and peak resident memory in GB, of one action."""
    out = subprocess.run(
        [sys.executable, __file__, "--action", action, "--folder", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(out.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=50)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--shape", type=int, nargs=2, default=(721, 1440))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None, help="folder for evaluate.csv")
    parser.add_argument("--action", choices=("read", "score"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.action:
        if options.action == "score":
            import fdsr.metrics.evaluation  # noqa: F401  (importing torch is not scoring)
        before = time.process_time()
        seconds = {"read": read, "score": score}[options.action](options.folder)
        cpu = time.process_time() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(json.dumps({"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_gb": round(peak, 2)}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder, options.members, options.times, *options.shape)
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1024**3
        rows: list[dict[str, Any]] = []
        for repeat in range(options.repeats):
            for action in ("read", "score"):
                rows.append({"action": action, "repeat": repeat, **in_own_process(action, folder)})
                print(rows[-1], flush=True)
    clock, cpu = (
        {a: statistics.median(float(r[key]) for r in rows if r["action"] == a) for a in ("read", "score")}
        for key in ("seconds", "cpu_seconds")
    )
    print(
        f"{options.times} × {options.members} × {options.shape[0]} × {options.shape[1]} float32, {size:.2f} GB on disk: "
        f"read {clock['read']:.1f} s, evaluate {clock['score']:.1f} s, ratio {clock['score'] / clock['read']:.1f}; "
        f"processor time {cpu['read']:.1f} and {cpu['score']:.1f} s, ratio {cpu['score'] / cpu['read']:.1f}; "
        f"peak memory {max(float(r['peak_gb']) for r in rows):.2f} GB"
    )
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        with (options.output / "evaluate.csv").open("w", newline="") as file:
            facts = {"times": options.times, "members": options.members, "rows": options.shape[0],
                     "columns": options.shape[1], "gb_on_disk": round(size, 2)}  # fmt: skip
            writer = csv.DictWriter(file, [*facts, *rows[0]])
            writer.writeheader()
            writer.writerows({**facts, **row} for row in rows)


if __name__ == "__main__":
    main()
