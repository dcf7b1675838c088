"""The study of few-step sampling in half an hour of one GPU, on a machine that has brought what it needs (see parts.py).

    python experiments/half_hour/run.py start WORK --minutes 17     # in the background
    python experiments/half_hour/run.py references WORK             # once Inception's weights are there
    python experiments/half_hour/run.py wait WORK --seconds 500     # what has been reached; returns earlier if all is done
    python experiments/half_hour/run.py finish WORK RESULTS         # stop what is left, time the samplers, pack what is small

`start` trains DDPMs at once and, beside them, searches DDGAN's settings (search.yaml); then all DDGANs of study.yaml side by side, in as
many steps as the time allows at the rate that the search has had; and, once the first DDPM is there, what begins from it (rivals.yaml). A
process takes one core; CUDA's multi-process service lets kernels of all share the card, where it is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import statistics
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

from fdsr.sweep.grid import read_sweep  # noqa: E402

MIB = 2**20
# of a run what is small and tells how it went
SMALL = ("*.csv", "*.txt", "*.log", "*.yaml", "*/samples/*", "*/*/*.json", "*/*/*.jsonl", "*/*/*.log", "*/*/*/*.json", "*/*/*/*.jsonl",
         "*/*.csv", "speed/*")  # fmt: skip
# whose weights are brought home
MODELS = (
    "study/ddpm-T=1000-seed=0",
    "study/ddgan-divergence=gan-T=4-seed=0",
    "study/ddgan-divergence=gan-T=2-seed=0",
    "rivals/*",
)
FEWEST, MOST = 500, 20_000  # steps of a DDGAN
# of a search's rate a process: what is left of it when all DDGANs run, and seconds for their tests
CROWDED, TESTS = 0.6, 160.0


def environment(work: Path) -> dict[str, str]:
    """Of every process: the packages brought along, one thread, one card for all."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(work / "site"), os.environ.get("PYTHONPATH", "")]),
        "FDSR_CACHE": str(work / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(work / "compiled"),
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "PYTHONWARNINGS": "ignore",
        "CUDA_MPS_PIPE_DIRECTORY": str(work / "mps"),
        "CUDA_MPS_LOG_DIRECTORY": str(work / "mps"),
    }


class HalfHour:
    """The sweeps, each a process of its own with constants of this run.

    constants: in place of the files' own: smaller numbers for a rehearsal. sweeps: where search.yaml, study.yaml and rivals.yaml are.
    """

    def __init__(self, work: Path, minutes: float, constants: dict[str, Any], sweeps: Path = HERE) -> None:
        self.work, self.sweeps, self.began = work, sweeps, time.time()
        self.end = self.began + 60 * minutes
        self.given = constants
        self.running: list[subprocess.Popen] = []

    def say(self, words: str) -> None:
        with (self.work / "progress.txt").open("a") as file:
            file.write(f"{time.time() - self.began:6.0f} s  {words}\n")

    def sweep(self, name: str, only: str, jobs: int, output: str | None = None, **constants: Any) -> subprocess.Popen:
        """Start `fdsr sweep` of one of the files beside this one, for the points called `only`."""
        output = output or name
        common = {
            "images": str(self.work / "images"),
            "fid_weights": str(weights_of(self.work)),
            "max_time": self.time_left(),
        }
        file = self.work / f"{len(self.running)}-{name}.yaml"
        file.write_text(
            yaml.safe_dump({"extends": str(self.sweeps / f"{name}.yaml"), "constants": common | constants | self.given})
        )
        command = [sys.executable, "-m", "fdsr.cli", "sweep", str(file), "--output", str(self.work / output)]
        with (self.work / f"{output}.log").open("a") as log:
            process = subprocess.Popen(
                [*command, "--jobs", str(jobs), "--only", only], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(self.work), cwd=ROOT,
            )  # fmt: skip
        self.running.append(process)
        self.say(f"{name} {only} {constants or ''}")
        return process

    def time_left(self) -> str:
        """As the trainer's max_time: a net below trainings that are slower than was foreseen."""
        left = max(30, int(self.end - time.time() - TESTS / 2))
        return f"00:{left // 3600:02d}:{left // 60 % 60:02d}:{left % 60:02d}"

    def run(self) -> None:
        """Everything, until it is done or is told to stop."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        lock = (self.work / "run.lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            self.warm_up()
            teachers = self.sweep("study", "ddpm*", jobs=5)
            self.sweep("search", "*", jobs=15).wait()
            chosen = choose(self.work / "search")
            rate = chosen.pop("steps_per_second") * CROWDED
            steps = max(FEWEST, min(MOST, round(rate * (self.end - time.time() - TESTS), -2)))
            chosen |= {"gan_steps": int(steps), "levels_steps": int(1.3 * steps)}
            self.sweep("study", "ddgan*", jobs=30, **chosen)
            self.rivals(teachers, rate, chosen)
            for process in self.running:
                process.wait()
            self.say("done")
        finally:
            for process in self.running:
                process.terminate()
            for process in self.running:
                process.wait()

    def warm_up(self) -> None:
        """Compile once, before thirty processes would do the same at the same time; beside it, a training through NCCL."""
        constants = yaml.safe_load((self.sweeps / "search.yaml").read_text()).get("constants", {})
        if not (constants | self.given).get("compiled"):
            return
        few: dict[str, Any] = {"search_steps": 6, "ddpm_steps": 6, "n_search": 2, "n_images": 2}
        first = read_sweep(self.sweeps / "search.yaml").points[0].name
        sweeps = (("search", first), ("study", "ddpm-T=10-*"), ("nccl", "*"))
        for process in [self.sweep(name, only, 1, "warm", **few) for name, only in sweeps]:
            process.wait()

    def rivals(self, teachers: subprocess.Popen, rate: float, chosen: dict[str, Any]) -> None:
        """What begins from the trained DDPM, once it is there."""
        from fdsr.records import RunFolder

        teacher = RunFolder(self.work / "study" / "ddpm-T=1000-seed=0")
        while not teacher.fitted.read():
            if teachers.poll() is not None:
                self.say("no DDPM, and so no rivals")
                return
            time.sleep(1)
        steps = max(FEWEST, min(MOST, round(rate * (self.end - time.time() - TESTS), -2)))
        self.sweep("rivals", "*", jobs=8, teacher=str(teacher.last_checkpoint), **chosen | {"rival_steps": int(steps)})


def choose(folder: Path) -> dict[str, Any]:
    """The constants of study.yaml that the search has found, and the steps a second that a training made.

    For each divergence the weight of R1, and with `gan` both rates, of the training with the lowest classifier_frechet.
    """
    from fdsr.records import RunFolder

    found: list[tuple[dict[str, Any], float]] = []
    rates = []
    for run in (RunFolder(p) for p in sorted(folder.iterdir()) if p.is_dir()):
        tested, fit = run.tested_distances(), run.record.read().get("fit", {})
        if tested:
            found.append((run.point["axes"], tested["classifier_frechet"]))
            rates.append(fit["steps"] / fit["seconds"])
    best = {}
    for divergence in sorted({axes["divergence"] for axes, _ in found}):
        best[divergence] = min((e for e in found if e[0]["divergence"] == divergence), key=lambda e: e[1])[0]
    rates_of_gan = {name: best["gan"][name] for name in ("lr", "critic_lr")}
    return (
        rates_of_gan
        | {f"r1_{d}": axes["r1"] for d, axes in best.items()}
        | {"steps_per_second": statistics.median(rates)}
    )


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


def finish(work: Path, results: Path, part: float) -> None:
    """Stop what runs; time samplers and networks on the free card; pack records, tables, pictures and weights."""
    stop(work)
    benchmarks, speed = ROOT / "tests/benchmarks", ["--output", str(work / "speed")]
    for command in (
        ["bench_sampling.py", "--studies", "images", "--batch", "500", *speed],
        ["bench_networks.py", *speed],
    ):
        with (work / f"{command[0]}.log").open("w") as log:
            subprocess.run(
                [sys.executable, str(benchmarks / command[0]), *command[1:]], stdout=log, stderr=log, env=environment(work),
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


def start(work: Path, minutes: float, constants: str) -> None:
    """Begin in the background, in a session of its own: it outlives the command that started it."""
    share_the_card(work)
    command = [sys.executable, __file__, "run", str(work), "--minutes", str(minutes), "--constants", constants]
    with (work / "run.log").open("a") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(work), start_new_session=True
        )
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
        "rivals/fid_vs_steps.csv",
    ):
        if (work / name).exists():
            print(f"== {name}\n{(work / name).read_text()}")
    for log in sorted(work.glob("*.log")):
        if failed := [line for line in log.read_text().replace("\r", "\n").splitlines() if "failed" in line]:
            print(f"== {log.name}", *failed, sep="\n")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("start", "run", "references", "wait", "finish"):
        verb = verbs.add_parser(name)
        verb.add_argument("work", type=Path)
        if name in ("start", "run"):
            verb.add_argument(
                "--minutes", type=float, default=17.0, help="until everything is to be trained and tested"
            )
            verb.add_argument(
                "--constants", default="{}", help="of the sweeps, as JSON: smaller numbers for a rehearsal"
            )
        elif name == "wait":
            verb.add_argument("--seconds", type=float, default=500.0)
        elif name == "finish":
            verb.add_argument("results", type=Path)
            verb.add_argument("--part", type=float, default=15.0, help="largest MiB of a packed file")
    options = vars(parser.parse_args(argv))
    options["work"] = options["work"].resolve()
    verb = options.pop("verb")
    if verb == "run":
        HalfHour(options["work"], options["minutes"], json.loads(options["constants"])).run()
    else:
        {"start": start, "references": references, "wait": wait, "finish": finish}[verb](**options)


if __name__ == "__main__":
    main()
