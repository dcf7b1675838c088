"""Runs points, each training and each test in a process of its own; finished ones are skipped, interrupted ones go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fdsr.errors import FdsrError
from fdsr.records import RunFolder
from fdsr.sweep.grid import Evaluation, Point, Settings, read_yaml

PROGRAM = (sys.executable, "-m", "fdsr.cli")
_PATIENCE = 30  # seconds that an interrupted process has for saving
_TRIES = 20  # at a point's lock, four a second


class PointError(Exception):
    """Why one point came to nothing; the others go on."""


class Runner:
    """Points in `output`/<name>/, at most `jobs` processes side by side; tests of one point run beside each other, too.

    A training or test that has succeeded leaves a marker with its settings and is not run again. A training that was
    interrupted goes on from its last checkpoint. What a process prints goes to `fit.log` or `test.log` beside its results.
    A point whose settings name a file of another's folder waits for that one's training, and is done again with it.
    Two sweeps may share a folder: a point is locked by the process that works on it, which may outlive the sweep.
    """

    def __init__(
        self, output: Path, jobs: int = 1, program: Sequence[str] = PROGRAM, points: Sequence[Point] = ()
    ) -> None:
        self.output, self.jobs, self.program = output, jobs, tuple(program)
        self.known = {point.name: point for point in points}  # all that the sweep has, whatever is run of it
        self.slots = threading.BoundedSemaphore(jobs)
        self.stopped = threading.Event()
        self.processes: set[subprocess.Popen] = set()

    # -- what is there ---------------------------------------------------------------------------------------------

    def folder(self, point: Point) -> RunFolder:
        return RunFolder(self.output / point.name)

    def test_folder(self, point: Point, evaluation: Evaluation) -> RunFolder:
        return RunFolder(self.output / point.name / evaluation.name)

    def tested(self, point: Point, evaluation: Evaluation) -> bool:
        """Whether this test has been made, with these very settings."""
        return _agree(self.test_folder(point, evaluation).tested.read(), self._evaluation_settings(point, evaluation))

    def fitted(self, point: Point) -> bool:
        """Whether there is nothing to train, or it has been done."""
        return point.fit is None or _agree(self.folder(point).fitted.read(), self._fit_settings(point))

    def finished(self, point: Point) -> bool:
        return self.fitted(point) and all(self.tested(point, e) for e in point.evaluations)

    def state(self, point: Point) -> str:
        """One word for a list: finished, begun or new."""
        return "finished" if self.finished(point) else "begun" if self.folder(point).path.exists() else "new"

    # -- commands --------------------------------------------------------------------------------------------------

    def fit_command(self, point: Point) -> list[str]:
        folder = self.folder(point)
        begun = ["--ckpt_path=last"] if folder.last_checkpoint.exists() else []
        return [*self.program, "fit", "--config", str(point.config), "--run", str(folder),
                *self._arguments(point, point.fit or {}), *begun]  # fmt: skip

    def test_command(self, point: Point, evaluation: Evaluation) -> list[str]:
        folder = self.test_folder(point, evaluation)
        trained = [] if point.fit is None else [f"--ckpt_path={self.folder(point).last_checkpoint}"]
        return [*self.program, "test", "--config", str(point.config), "--run", str(folder),
                *self._arguments(point, evaluation.settings), *trained, "--overwrite=true"]  # fmt: skip

    def _arguments(self, point: Point, settings: Settings) -> list[str]:
        filled = self._filled(point, settings)
        return [f"--{k}={value if isinstance(value, str) else json.dumps(value)}" for k, value in filled.items()]

    def _filled(self, point: Point, value: Any) -> Any:
        """A setting, or several, with places and axes in place of their names in braces."""
        if isinstance(value, dict):
            return {key: self._filled(point, v) for key, v in value.items()}
        if isinstance(value, list):
            return [self._filled(point, v) for v in value]
        if isinstance(value, str):
            for name, place in ({"output": self.output, "here": point.config.parent} | point.axes).items():
                value = value.replace(f"{{{name}}}", str(place))
        return value

    def _fit_settings(self, point: Point) -> dict[str, Any]:
        """What a training is of: configuration, arguments, the files that these name, and the trainings that it builds on."""
        arguments = self._arguments(point, point.fit or {})
        return {"config": _digest(point.config), "arguments": arguments, **self._named(point, point.fit or {})}

    def _evaluation_settings(self, point: Point, evaluation: Evaluation) -> dict[str, Any]:
        fit, arguments = self._fit_settings(point), self._arguments(point, evaluation.settings)
        named = self._named(point, evaluation.settings)
        return fit | {"test": arguments, **{what: fit[what] | found for what, found in named.items()}}

    def _named(self, point: Point, settings: Settings) -> dict[str, dict[str, Any]]:
        files = {
            a: _digest(Path(a)) for a in self._values(point, settings) if a.endswith(".yaml") and Path(a).is_file()
        }
        return {"files": files, "after": {p.name: self._fit_settings(p) for p in self._before(point, settings)}}

    def _values(self, point: Point, settings: Settings) -> list[str]:
        return list(_texts(self._filled(point, settings)))

    def _before(self, point: Point, settings: Settings) -> list[Point]:
        """The points of whose folders `settings` name a file."""
        places = [Path(v) for v in self._values(point, settings) if v.startswith(f"{self.output}{os.sep}")]
        names = {place.relative_to(self.output).parts[0] for place in places}
        return [self.known[name] for name in sorted(names) if name in self.known and name != point.name]

    def _require_trained(self, point: Point) -> None:
        for settings in (point.fit or {}, *(evaluation.settings for evaluation in point.evaluations)):
            for other in self._before(point, settings):
                if not self.fitted(other):
                    raise PointError(f"it builds on {other.name}, whose training has not ended; run that one first")

    # -- running ---------------------------------------------------------------------------------------------------

    def run(self, points: Sequence[Point], after: Callable[[], None]) -> list[str]:
        """Run what is not finished; `after` is called, in this thread, whenever a point has ended. Returns who failed.

        Raises KeyboardInterrupt, once every process has been stopped, if it is interrupted.
        """
        done = sum(map(self.finished, points))
        failed = []
        with tqdm(total=len(points), initial=done, desc="points", unit="point") as bar:
            for _, stage in groupby(points, key=lambda p: p.stage):
                todo = [p for p in stage if not self.finished(p)]
                for point, error in self._side_by_side(todo):
                    if error is not None:
                        failed.append(point.name)
                        bar.write(f"failed: {point.name}: {error}", file=sys.stderr)
                    bar.update()
                    try:
                        after()
                    except FdsrError as error_of_table:  # a test without results; the other points go on
                        bar.write(f"no table yet: {error_of_table}", file=sys.stderr)
        return failed

    def _side_by_side(self, points: list[Point]) -> Iterator[tuple[Point, Exception | None]]:
        with ThreadPoolExecutor(self.jobs) as pool:
            waiting: dict[Future[None], Point] = {pool.submit(self._run_point, p): p for p in points}
            try:
                for future in as_completed(waiting):
                    error = future.exception()
                    if error is not None and not isinstance(error, (PointError, OSError)):
                        raise error
                    yield waiting[future], error
            except BaseException:
                self.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                self._stop()
                raise

    def _stop(self) -> None:
        for process in list(self.processes):
            process.terminate()
        for process in list(self.processes):
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()

    def _run_point(self, point: Point) -> None:
        if self.stopped.is_set():
            return
        self._require_trained(point)
        folder = self.folder(point)
        folder.path.mkdir(parents=True, exist_ok=True)
        with _locked(folder.lock) as lock:
            if point.fit is not None:
                self._fit(point, lock)
            todo = [e for e in point.evaluations if not self.tested(point, e)]
            with ThreadPoolExecutor(self.jobs) as pool:
                # the first that fails is raised, once all have ended
                list(pool.map(lambda evaluation: self._test(point, evaluation, lock), todo))

    def _test(self, point: Point, evaluation: Evaluation, lock: int) -> None:
        place = self.test_folder(point, evaluation)
        place.describe(evaluation.method, evaluation.axes)
        self._execute(self.test_command(point, evaluation), place.log("test"), lock)
        place.tested.write(self._evaluation_settings(point, evaluation))

    def _fit(self, point: Point, lock: int) -> None:
        folder, settings = self.folder(point), self._fit_settings(point)
        begun = folder.begun.read()
        if begun and not _agree(begun, settings) and folder.checkpoints.exists():
            raise PointError(
                f"it was trained with other settings; remove '{folder}' or give another --output ({_change(begun, settings)})"
            )
        if self.fitted(point):
            return
        folder.begun.write(settings)
        folder.describe(point.method, point.axes)
        self._execute(self.fit_command(point), folder.log("fit"), lock)
        folder.fitted.write(settings)

    def _execute(self, command: list[str], log: Path, lock: int) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        if self.jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.jobs)))
        with self.slots, log.open("a") as file:
            file.write(f"$ {shlex.join(command)}\n")
            file.flush()
            if self.stopped.is_set():
                raise PointError("interrupted")
            # the process inherits the lock, and holds it even if this one is killed
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, pass_fds=[lock]
            )
            self.processes.add(process)
            if self.stopped.is_set():  # meanwhile
                process.terminate()
            try:
                status = process.wait()
            finally:
                self.processes.discard(process)
        if status:
            raise PointError(f"{_last_words(log, status)} (see {log})")


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    with path.open("w") as file:
        # a process that was killed a moment ago may still be ending
        for tries in range(_TRIES, 0, -1):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if tries == 1:
                    raise PointError("another process is at work on it; repeat the command when it ends") from error
                time.sleep(0.25)
        yield file.fileno()


def _last_words(log: Path, status: int) -> str:
    """What the program said last of all: its one line on what is wrong, or the end of a traceback."""
    if status < 0:
        return f"killed by signal {-status}"
    lines = [line.strip() for line in log.read_text(errors="replace").replace("\r", "\n").splitlines() if line.strip()]
    said = [line.removeprefix("fdsr: error: ") for line in lines if line.startswith("fdsr: error: ")]
    return said[-1] if lines[-1].startswith("fdsr: error: ") else lines[-1][:300]


def _texts(value: Any) -> Iterator[str]:
    """Every text in a setting, or in several."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _digest(config: Path) -> str:
    """Of what a configuration says; comments and layout may change."""
    return hashlib.sha256(json.dumps(read_yaml(config), sort_keys=True, default=str).encode()).hexdigest()[:16]


def _agree(marker: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether a marker is of these settings. How long a training may take is none of them; and what earlier versions of fdsr did not
    note, files and trainings that were built on, is taken to be the same.
    """

    def compared(found: dict[str, Any]) -> dict[str, Any]:
        timeless = [a for a in found.get("arguments", ()) if not a.startswith("--trainer.max_time=")]
        after = {name: compared(other) for name, other in found.get("after", {}).items()}
        return found | {"arguments": timeless} | ({"after": after} if after else {})

    mine, theirs = compared(marker), compared(settings)
    noted = [key for key in theirs if key in mine or key not in ("files", "after")]
    return bool(marker) and all(mine.get(key) == theirs[key] for key in noted)


def _change(old: dict[str, Any], new: dict[str, Any]) -> str:
    changed = [a for a in [*old["arguments"], *new["arguments"]] if (a in old["arguments"]) != (a in new["arguments"])]
    changed = [a.split("=")[0].lstrip("-") for a in changed]
    for what in ("files", "after"):
        before = old.get(what, new[what])
        changed += [name for name in new[what] if before.get(name) != new[what][name]]
    return f"changed: {changed[0]}" if changed else "its configuration file has changed"
