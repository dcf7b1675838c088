"""The points of a sweep, read from its YAML file.

    table: fid_vs_steps                # or test_metrics
    keys:                              # each axis, and the configuration keys that its values are given to
      T: model.init_args.timesteps
      seed: seed_everything
    settings: {data.init_args.batch_size: 32}      # of every point, in training and evaluation
    fit: {trainer.max_steps: 500}                  # in training alone
    test: {trainer.enable_progress_bar: false}     # in evaluation alone
    blocks:
      - method: ddgan
        config: ddgan_fashion.yaml     # beside this file
        grid: {T: [4, 1, 2], seed: [0, 1]}
      - method: ddpm
        config: ddpm_fashion.yaml
        grid: {T: [1000], seed: [0]}
        evaluations:                   # several tests of the one model that each point trains
          - {method: ddpm, settings: {model.init_args.sampler: {class_path: Ancestral, init_args: {steps: null, spacing: uniform}}}}
          - method: ddpm_ddim
            settings: {model.init_args.sampler: {class_path: DDIM}}
            grid: {nfe: [10, 50]}      # with `nfe: model.init_args.sampler.init_args.steps` among the keys
          - {name: more, method: ddpm, settings: {…}}      # a name where method and axes are those of another

A block may have keys, settings, fit and test of its own, which go before the common ones; `fit: false` where there is nothing
to train; and `after: true` where it needs what earlier blocks trained: `{output}` in a setting is the sweep's folder,
`{here}` that of the configuration, and `{seed}` this point's seed, as any axis in braces is its value. An axis whose keys are
an empty list has no other effect.

    extends: compare_weather.yaml      # everything of another sweep that does not stand in this file
    constants: {half: 1500}            # a setting "{half}" is this value; each replaces the extended file's

The extending file's keys, settings, fit, test and constants are added to those of the other and go before them; a list of
blocks takes the place of the other's. Configurations are looked for beside the file in which the blocks stand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fdsr.errors import FdsrError, one_line

Axes = dict[str, Any]
Settings = dict[str, Any]  # configuration key, dotted → value
Entries = Mapping[str, Any]  # of the file

_SWEEP = ("extends", "table", "constants", "keys", "settings", "fit", "test", "blocks")
_MERGED = ("constants", "keys", "settings", "fit", "test")
_BLOCK = ("method", "config", "grid", "keys", "settings", "fit", "test", "evaluations", "after")
_EVALUATION = ("method", "name", "grid", "settings")


@dataclass(frozen=True)
class Evaluation:
    """One test of a trained point. name: its folder within the point's, `.` where there is but one."""

    name: str
    method: str
    axes: Axes
    settings: Settings


@dataclass(frozen=True)
class Point:
    """One training and its tests. fit: None where nothing is trained. stage: points of earlier stages come first."""

    name: str
    method: str
    config: Path
    axes: Axes
    fit: Settings | None
    evaluations: tuple[Evaluation, ...]
    stage: int


@dataclass(frozen=True)
class Sweep:
    """All points in the order in which they are run, and the name of their table."""

    table: str
    points: tuple[Point, ...]

    @property
    def axes(self) -> list[str]:
        """The names of all axes, in the order of their first appearance."""
        return list(dict.fromkeys(a for p in self.points for e in p.evaluations for a in e.axes))


def read_sweep(path: str | Path) -> Sweep:
    """The sweep that a YAML file describes. Raises FdsrError saying which entry is wrong."""
    path = Path(path)
    if not path.is_file():
        raise FdsrError(f"sweep '{path}' does not exist; see experiments/sweep_T_cpu.yaml")
    whole, folder = _extended(path)
    _require(whole, _SWEEP, ("table", "blocks"), f"{path}")
    whole = _with_constants(whole, _mapping(whole, "constants", f"{path}"))
    blocks = whole["blocks"]
    if not isinstance(blocks, list) or not blocks:
        raise FdsrError(f"{path}: blocks must be a list with at least one block")
    points: dict[str, Point] = {}
    stage = 0
    for number, block in enumerate(blocks, start=1):
        where = f"{path}: block {number}"
        _require(block, _BLOCK, ("method", "config"), where)
        stage += bool(block.get("after", False))
        for point in _points(block, whole, folder, stage, where):
            known = points.setdefault(point.name, point)
            if (known.fit, known.evaluations, known.config) != (point.fit, point.evaluations, point.config):
                raise FdsrError(f"{where}: point '{point.name}' stands in the file twice, with different settings")
    return Sweep(str(whole["table"]), tuple(points.values()))


def _points(block: Entries, whole: Entries, folder: Path, stage: int, where: str) -> Iterator[Point]:
    config = folder / str(block["config"])
    if not config.is_file():
        raise FdsrError(f"{where}: configuration '{config}' does not exist")
    keys = _mapping(whole, "keys", where) | _mapping(block, "keys", where)
    # `fit: false` of a block: nothing to train
    trained = block.get("fit") is not False

    def settings(part: str) -> Settings:
        own = {} if part == "fit" and not trained else _mapping(block, part, where)
        return _mapping(whole, part, where) | own

    common, fit, test = settings("settings"), settings("fit"), settings("test")
    method, evaluations = str(block["method"]), block.get("evaluations") or [{}]
    if not isinstance(evaluations, list):
        raise FdsrError(f"{where}: evaluations must be a list")
    for axes in _expand(block, where):
        own = common | _of_axes(axes, keys, where)
        found = []
        for evaluation in evaluations:
            _require(evaluation, _EVALUATION, (), f"{where}: evaluations")
            for more in _expand(evaluation, where):
                extra = _mapping(evaluation, "settings", where) | _of_axes(more, keys, where)
                called = str(evaluation.get("method", method))
                name = "." if evaluations == [{}] else _name(str(evaluation.get("name", called)), more)
                found.append(Evaluation(name, called, axes | more, own | test | extra))
        names = [e.name for e in found]
        if len(set(names)) < len(names):
            raise FdsrError(f"{where}: two evaluations are called alike; give each a name, method or axis of its own")
        yield Point(_name(method, axes), method, config, axes, own | fit if trained else None, tuple(found), stage)


def _extended(path: Path, seen: tuple[Path, ...] = ()) -> tuple[Any, Path]:
    """The file's entries upon those of the file that it extends, and the folder of the one with the blocks."""
    whole = read_yaml(path)
    if not isinstance(whole, dict) or "extends" not in whole:
        return whole, path.parent
    base = path.parent / str(whole["extends"])
    if not base.is_file():
        raise FdsrError(f"{path}: extends: sweep '{base}' does not exist")
    if base in (*seen, path):
        raise FdsrError(f"{path}: extends: '{base.name}' extends this file in turn")
    found, folder = _extended(base, (*seen, path))
    _require(found, _SWEEP, (), f"{base}")
    merged = {part: _mapping(found, part, f"{base}") | _mapping(whole, part, f"{path}") for part in _MERGED}
    return found | whole | merged, path.parent if "blocks" in whole else folder


def _with_constants(entry: Any, constants: Mapping[str, Any]) -> Any:
    """The entry with every text "{name}" replaced by the constant of that name."""
    if isinstance(entry, dict):
        return {key: _with_constants(value, constants) for key, value in entry.items()}
    if isinstance(entry, list):
        return [_with_constants(value, constants) for value in entry]
    if isinstance(entry, str) and entry.startswith("{") and entry.endswith("}"):
        return constants.get(entry[1:-1], entry)
    return entry


def read_yaml(path: Path) -> Any:
    """What a file says. Raises FdsrError where it is not YAML."""
    try:
        return yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FdsrError(f"{path} is not YAML: {one_line(error)}") from error


def _require(entry: Any, allowed: tuple[str, ...], needed: tuple[str, ...], where: str) -> None:
    if not isinstance(entry, dict):
        raise FdsrError(f"{where}: expected entries '{allowed[0]}: …', found {type(entry).__name__}")
    for key in entry:
        if key not in allowed:
            raise FdsrError(f"{where}: '{key}' is unknown; it must be one of {', '.join(allowed)}")
    for key in needed:
        if key not in entry:
            raise FdsrError(f"{where}: '{key}' is missing")


def _mapping(entry: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    found = entry.get(key) or {}
    if not isinstance(found, dict):
        raise FdsrError(f"{where}: {key} must be entries 'name: value', found {type(found).__name__}")
    return found


def _expand(entry: Mapping[str, Any], where: str) -> Iterator[Axes]:
    """Every combination of the grid's values, the last axis running fastest; one without axes where there is no grid."""
    grid = _mapping(entry, "grid", where)
    for axis, values in grid.items():
        if not isinstance(values, list) or not values:
            raise FdsrError(f"{where}: axis '{axis}' must have a list of values")
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _of_axes(axes: Axes, keys: Mapping[str, Any], where: str) -> Settings:
    settings = {}
    for axis, value in axes.items():
        if axis not in keys:
            raise FdsrError(f"{where}: axis '{axis}' has no configuration key; add it to keys")
        for key in keys[axis] if isinstance(keys[axis], list) else [keys[axis]]:
            settings[str(key)] = value
    return settings


def _name(method: str, axes: Axes) -> str:
    return "-".join([method, *(f"{axis}={value}" for axis, value in axes.items())]).replace("/", "_")
