"""What a run shows in Weights & Biases besides its curves: scores, spectra, ranks and pictures, read from its files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from fdsr.callbacks import logged_names as names
from fdsr.records import RunFolder
from fdsr.report.figures.spectra import band_near_45, power_ratio
from fdsr.report.runs import TestedRun, read_run

# Columns of the tables, in plain words for the sake of charts that take them for field names. The wavenumber is in cycles per
# 1000 km, the wavelength in km: an axis of W&B's own charts is linear, hence wavenumbers and logarithms. A rank is the place of
# the truth among the members, from 0 to 1, and its frequency is relative to a flat histogram's.
RATIO_COLUMNS = ("wavenumber", "wavelength", "decibel")
SPECTRA_COLUMNS = ("wavenumber", "wavelength", "of", "log10_power")
RANK_COLUMNS = ("rank", "frequency")
_SPECTRA = {"members": "spectrum", "truth": "spectrum_reference", "error of the mean": "spectrum_error"}

Rows = list[list[Any]]


def log_test(experiment: Any, folder: RunFolder) -> None:
    """Add all that a test has left in its folder to a W&B run: of fields, of images, or of both.

    Numbers go to its summary, tables and pictures to its history, and what tells runs apart to its configuration.
    """
    if folder.table.exists():
        _log_fields(experiment, read_run(folder.path))
    if last := folder.tested_distances():
        _log_images(experiment, folder, last)


def summary_of_fields(run: TestedRun) -> dict[str, float]:
    """Every score of a test of fields, and its wall time, by key."""
    found = {names.score(metric, variable): value for (metric, variable), value in run.values.items()}
    for score, variable in product((s for s in run.declared.values() if s.stand_in), run.variables):
        value = run.values.get((str(score.shown(run.members)), variable))
        if value is not None:
            found[names.either(score.name, score.stand_in, variable)] = value
    if run.seconds is not None:
        found[names.SECONDS_PER_MEMBER] = run.seconds
    return found


def tables_of_fields(run: TestedRun) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    """(key, columns, rows) of power ratios, spectra and rank histograms, each of one variable; the band of the page's figures."""
    scores = run.folder.scores.read()
    if scores is None:
        return
    for variable in run.variables:
        own = scores.sel(variable=variable)
        if "spectrum" in own:
            band = band_near_45(own)
            yield names.score(names.POWER_RATIO, variable), RATIO_COLUMNS, _ratio_rows(band)
            yield names.score(names.SPECTRA, variable), SPECTRA_COLUMNS, list(_spectra_rows(band, run.members > 1))
        if "rank_histogram" in own and run.members > 1:
            yield names.score(names.RANKS, variable), RANK_COLUMNS, _rank_rows(own.rank_histogram.values)


def _log_fields(experiment: Any, run: TestedRun) -> None:
    import wandb

    numbers = {name: int(run.facts[name]) for name in (names.SEED, names.MEMBERS, names.NFE, "n_times")}
    _configure(experiment, run.facts | numbers | {names.METHOD: run.method})
    experiment.summary.update(summary_of_fields(run))
    tables = {key: wandb.Table(columns=list(columns), data=rows) for key, columns, rows in tables_of_fields(run)}
    figure = run.folder.figure
    experiment.log(tables | ({names.FIGURE: wandb.Image(str(figure))} if figure.is_file() else {}))


def _log_images(experiment: Any, folder: RunFolder, last: dict[str, Any]) -> None:
    """The last test's distances, floors and time; its callback has drawn the samples."""
    import wandb

    record = folder.record.read()["test"]
    _configure(experiment, {
        names.METHOD: record["method"], names.SEED: record["seed"], names.NFE: record["nfe"],
        "n_generated": last["n_generated"], "device": last["device"], "commit": last["commit"],
    })  # fmt: skip
    facts = ("stage", "step", "n_generated", "n_reference", "n_floor", "seed", "processes", "device", "commit",
             "seconds_per_image")  # fmt: skip
    experiment.summary.update({names.distance(k): v for k, v in last.items() if k not in facts})
    experiment.summary[names.SECONDS_PER_IMAGE] = last["seconds_per_image"]
    if picture := folder.last_picture("test"):
        experiment.log({names.SAMPLES: wandb.Image(str(picture))})


def _configure(experiment: Any, values: dict[str, Any]) -> None:
    experiment.config.update(values, allow_val_change=True)


def _ratio_rows(band: xr.Dataset) -> Rows:
    wavelength, decibel = power_ratio(band)
    return [[1000.0 / w, w, d] for w, d in zip(wavelength.tolist(), decibel.tolist(), strict=True) if np.isfinite(d)]


def _spectra_rows(band: xr.Dataset, ensemble: bool) -> Iterator[list[Any]]:
    wavenumber = band.wavenumber.values
    for what, name in _SPECTRA.items():
        if name == "spectrum_error" and not ensemble:
            continue
        for k, power in zip(wavenumber.tolist(), band[name].values.tolist(), strict=True):
            if np.isfinite(k) and k > 0 and power > 0:
                yield [1000.0 * k, 1.0 / k, what, float(np.log10(power))]


def _rank_rows(frequency: np.ndarray) -> Rows:
    bins = frequency.size
    return [[(i + 0.5) / bins, float(f) * bins] for i, f in enumerate(frequency)]
