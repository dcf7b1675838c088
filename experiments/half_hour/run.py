"""The study of few-step sampling in half an hour of one GPU, on a machine that has brought what it needs (see parts.py).

    python experiments/half_hour/run.py start WORK --sweep search --first '*=gan-*lr=0.0002-critic_lr=0.001-r1=0.02*' --then '*' --minutes 5
    python experiments/half_hour/run.py start WORK --minutes 10.5   # the study itself, in the background
    python experiments/half_hour/run.py start WORK --sweep second --first … # what came after it, see second.yaml
    python experiments/half_hour/run.py references WORK             # once Inception's weights are there
    python experiments/half_hour/run.py wait WORK --seconds 500     # what has been reached; returns earlier if all is done
    python experiments/half_hour/run.py finish WORK RESULTS         # stop what is left, pack what is small

Trainings run side by side, each a process of one core; CUDA's multi-process service lets kernels of all share the card, where it is
installed. More than a dozen get in each other's way. Trainings end by a net of time, whatever their steps, before tests would be late.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

from parts import weights_of  # noqa: E402

MIB = 2**20
# of a run what is small and tells how it went
SMALL = ("*.csv", "*.txt", "*.log", "*.yaml", "*/samples/*", "*/*/*.json", "*/*/*.jsonl", "*/*/*.log", "*/*/*/*.json", "*/*/*/*.jsonl",
         "*/*.csv", "speed/*")  # fmt: skip
# whose weights are brought home
MODELS = (
    "study/ddpm-T=1000-seed=0",
    "study/ddgan-divergence=gan-*-seed=0",
    "second/ddgan_levels-*",
    "second/ddpm_long-*",
)
# compiled by the first, and then taken from their cache: twelve processes, since they share sixteen cores
FIRST = ("ddpm-T=1000-seed=0", "ddgan-divergence=gan-T=4-seed=0")
THEN = ("ddgan-divergence=gan-T=[128]-seed=0", "ddgan-divergence=[hrt]*-T=[24]-seed=0")
TESTS = 90.0  # seconds


def environment(work: Path) -> dict[str, str]:
    """Of every process: the packages brought along, one thread, one card for all."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(work / "site"), os.environ.get("PYTHONPATH", "")]),
        "FDSR_CACHE": str(work / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(work / "compiled"),
        "TORCHINDUCTOR_COMPILE_THREADS": "6",
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "PYTHONWARNINGS": "ignore",
        "CUDA_MPS_PIPE_DIRECTORY": str(work / "mps"),
        "CUDA_MPS_LOG_DIRECTORY": str(work / "mps"),
    }


def run(work: Path, sweep: str, first: list[str], then: list[str], jobs: int, minutes: float, constants: str) -> None:
    """The points called `first`, and once these have made steps, so that what is compiled need not be again, those called `then`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    lock = (work / "run.lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    end, given = time.time() + 60 * minutes, json.loads(constants)
    running = []
    for patterns in (first, then):
        left = max(30, int(end - time.time() - TESTS))
        known = {"images": str(work / "images"), "fid_weights": str(weights_of(work)),
                 "max_time": f"00:{left // 3600:02d}:{left // 60 % 60:02d}:{left % 60:02d}"}  # fmt: skip
        for pattern in patterns:
            file = work / f"{sweep}-{len(running)}.yaml"
            file.write_text(yaml.safe_dump({"extends": str(HERE / f"{sweep}.yaml"), "constants": known | given}))
            command = [sys.executable, "-m", "fdsr.cli", "sweep", str(file), "--output", str(work / sweep),
                       "--jobs", str(jobs), "--only", pattern]  # fmt: skip
            with (work / f"{sweep}.log").open("a") as log:
                running.append(
                    subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(work), cwd=ROOT
                    )
                )
        while patterns is first and not _under_way(work / sweep, first) and any(p.poll() is None for p in running):
            time.sleep(0.5)
    try:
        for process in running:
            process.wait()
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _under_way(output: Path, patterns: list[str]) -> bool:
    """Whether a point of each pattern has logged a step."""
    return all(any(m.stat().st_size for m in output.glob(f"{pattern}/metrics.jsonl")) for pattern in patterns)


def references(work: Path) -> None:
    """Inception's statistics of the real images, once, before many tests want them at the same time."""
    import torch

    from fdsr.data.images.files import load
    from fdsr.metrics.images.inception import InceptionFeatures
    from fdsr.metrics.images.inception_weights import load_inception_weights
    from fdsr.metrics.images.reference import reference

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = InceptionFeatures(load_inception_weights(weights_of(work), work / "cache")).to(device)
    for split in ("test", "train"):
        images = load(work / "images", split)
        pixels = images.images[:, None].to(device)
        reference(network, pixels, images.fingerprint(), work / "cache", batch_size=1000, progress=False)


def finish(work: Path, results: Path, part: float, benchmarks: bool) -> None:
    """Stop what runs; time samplers and networks on the free card if asked; pack records, tables, pictures and weights."""
    stop(work)
    folder, speed = ROOT / "tests/benchmarks", ["--output", str(work / "speed")]
    commands = (["bench_sampling.py", "--studies", "images", "--batch", "500", *speed], ["bench_networks.py", *speed])
    for command in commands if benchmarks else ():
        with (work / f"{command[0]}.log").open("w") as log:
            subprocess.run(
                [sys.executable, str(folder / command[0]), *command[1:]], stdout=log, stderr=log, env=environment(work),
                cwd=ROOT, timeout=240, check=False,
            )  # fmt: skip
    results.mkdir(parents=True, exist_ok=True)
    files = sorted({p for pattern in SMALL for p in work.glob(pattern) if p.is_file() and "site" not in p.parts})
    _pack(work, files, results, "records", part)
    _pack(work, list(_models(work)), results, "models", part)


def _models(work: Path) -> Iterator[Path]:
    from fdsr.errors import FdsrError
    from fdsr.modules import load_module, save_pretrained
    from fdsr.records import RunFolder

    for run in (RunFolder(p) for pattern in MODELS for p in sorted(work.glob(pattern))):
        if not run.last_checkpoint.exists():
            continue
        folder = work / "models" / run.path.parent.name / run.path.name
        try:
            save_pretrained(load_module(run.last_checkpoint), folder)
        except (FdsrError, OSError) as error:
            print(f"{run}: {error}", file=sys.stderr)
            continue
        yield from folder.iterdir()


def _pack(work: Path, files: list[Path], results: Path, name: str, part: float) -> None:
    """RESULTS/name-0.tar.gz, …, of files of at most `part` MiB together."""
    groups: list[list[Path]] = [[]]
    size = 0
    for path in files:
        if size + path.stat().st_size > part * MIB and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append(path)
        size += path.stat().st_size
    for i, group in enumerate(groups):
        with tarfile.open(results / f"{name}-{i}.tar.gz", "w:gz") as archive:
            for path in group:
                archive.add(path, path.relative_to(work))


def start(work: Path, **options: Any) -> None:
    """`run` in the background, in a session of its own: it outlives the command that started it."""
    share_the_card(work)
    arguments = [
        word
        for name, value in options.items()
        for word in (f"--{name}", *(value if isinstance(value, list) else [str(value)]))
    ]
    with (work / "run.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, "run", str(work), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment(work), start_new_session=True,
        )  # fmt: skip
    (work / "run.pid").write_text(str(process.pid))
    while process.poll() is None and not alive(work):
        time.sleep(0.1)


def share_the_card(work: Path) -> None:
    """Start CUDA's multi-process service, where it is installed: kernels of many processes then run at once, not in turns."""
    if shutil.which("nvidia-cuda-mps-control"):
        (work / "mps").mkdir(exist_ok=True)
        subprocess.run(["nvidia-cuda-mps-control", "-d"], env=environment(work), check=False)


def alive(work: Path) -> bool:
    """Whether the background's process is at work: it holds a lock."""
    with (work / "run.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def stop(work: Path) -> None:
    """End the background, and wait until its sweeps have."""
    if alive(work):
        os.kill(int((work / "run.pid").read_text()), signal.SIGTERM)
    for _ in range(90):  # trainings have half a minute for saving
        if not alive(work):
            return
        time.sleep(0.5)


def wait(work: Path, seconds: float) -> None:
    """Return when the background is done, or after so many seconds; print what it has reached."""
    until = time.time() + seconds
    while alive(work) and time.time() < until:
        time.sleep(0.5)
    for name in (
        "progress.txt",
        "run.log",
        "search/fid_vs_steps.csv",
        "study/fid_vs_steps.csv",
        "second/fid_vs_steps.csv",
    ):
        if (work / name).exists():
            print(f"== {name}\n{(work / name).read_text()}")
    for log in sorted(work.glob("*.log")):
        if failed := [line for line in log.read_text().replace("\r", "\n").splitlines() if "failed" in line]:
            print(f"== {log.name}", *failed, sep="\n")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in VERBS:
        verb = verbs.add_parser(name)
        verb.add_argument("work", type=lambda text: Path(text).resolve())
        if name in ("start", "run"):
            verb.add_argument("--sweep", default="study", choices=("search", "study", "second"))
            verb.add_argument("--first", nargs="+", default=list(FIRST), help="points, as in fdsr sweep --only")
            verb.add_argument("--then", nargs="+", default=list(THEN))
            verb.add_argument("--jobs", type=int, default=8, help="processes that each pattern may run side by side")
            verb.add_argument(
                "--minutes", type=float, default=10.5, help="until everything is to be trained and tested"
            )
            verb.add_argument(
                "--constants", default="{}", help="of the sweep, as JSON: smaller numbers for a rehearsal"
            )
        elif name == "wait":
            verb.add_argument("--seconds", type=float, default=500.0)
        elif name == "finish":
            verb.add_argument("results", type=Path)
            verb.add_argument("--part", type=float, default=15.0, help="largest MiB of a packed file")
            verb.add_argument(
                "--benchmarks", action="store_true", help="time samplers and networks first, two minutes or so"
            )
    options = vars(parser.parse_args(argv))
    VERBS[options.pop("verb")](**options)


VERBS = {"start": start, "run": run, "references": references, "wait": wait, "finish": finish}

if __name__ == "__main__":
    main()
