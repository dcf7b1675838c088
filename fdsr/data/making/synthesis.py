"""Fields of idealised turbulence as a source that `prepare` reads: independent runs one after another, always labelled synthetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray
from tqdm import tqdm
from zarr.codecs import BloscCodec

from fdsr.data.making.partial import PartialStore
from fdsr.data.making.prepare import store_folder, write_errors_in_one_line
from fdsr.data.zarr_groups import array_of, consolidate
from fdsr.errors import FdsrError
from fdsr.grids.cells import EARTH_RADIUS_KM, FloatArray
from fdsr.turbulence import Damping, Flow, SpectralPlane, Turbulence, find_flow

CENTRE = (45.0, 0.0)  # latitude and longitude of the plane's centre: a place is needed, none is meant
MAPPING = "plane"


@dataclass(frozen=True)
class SynthesisConfig:
    """What defines a synthetic source. Two equal ones give the same fields on one kind of device.

    flow: sqg (surface quasi-geostrophic) or euler (two-dimensional)
    size: points along each side of the doubly periodic plane
    runs: independent runs, each with its own initial field and its own force
    fields_per_run: snapshots kept of each
    spin_up, interval: turnover times of the force's eddies before the first snapshot, and between two
    wavenumber: of the force, eddies along a side
    damping: at the small and the large scales
    length: side of the plane in km, for coordinates only: the fields have no unit
    seed: root of all draws
    batch: runs that advance side by side; other numbers give other fields
    """

    flow: str = "sqg"
    size: int = 64
    runs: int = 128
    fields_per_run: int = 20
    spin_up: float = 2.0
    interval: float = 1.0
    wavenumber: float = 3.0
    damping: Damping = field(default_factory=Damping)
    length: float = 1000.0
    seed: int = 0
    batch: int = 8

    def __post_init__(self) -> None:
        find_flow(self.flow)
        for name in ("runs", "fields_per_run", "interval", "wavenumber", "length", "batch"):
            if not getattr(self, name) > 0:
                raise FdsrError(f"synthesis: {name.replace('_', ' ')} must be positive, got {getattr(self, name)}")

    def waves(self) -> list[range]:
        """Runs that advance side by side."""
        return [range(r, min(r + self.batch, self.runs)) for r in range(0, self.runs, self.batch)]

    def turbulence(self, device: torch.device | str = "cpu") -> Turbulence:
        """The flow on its plane, in float32."""
        plane = SpectralPlane(self.size, device=device)
        return Turbulence(find_flow(self.flow), plane, self.damping, self.wavenumber)


def synthesise(config: SynthesisConfig, target: str | Path, device: str | None = None) -> Path:
    """Write the fields of `config` as a Zarr store that `prepare` takes for its source; returns its path.

    Dimensions are time, y, x, where `time` only counts: fields_per_run snapshots of run 0, then of run 1 and so on, so that
    blocks of time that begin with a run share none with their neighbours (`run` and `model_time` say which and when). Runs
    on the GPU if there is one. Atomic and resumable, a batch of runs at a time.

    Raises FdsrError if the target exists or cannot be written.
    """
    target = store_folder(target)
    if target.exists():
        raise FdsrError(f"target '{target}' exists already; remove it or choose another (it is never overwritten)")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    turbulence = config.turbulence(device)
    partial = PartialStore(target)
    with write_errors_in_one_line(target), partial.locked():
        plan = {"config": asdict(config), "device": device.split(":")[0]}
        progress = partial.progress(plan, lambda store: _create(store, config, turbulence))
        waves = config.waves()
        done = min(progress.done * config.batch, config.runs) * config.fields_per_run
        total = config.runs * config.fields_per_run
        with tqdm(total=total, initial=done, desc="synthetic fields", unit="field") as bar:
            for number in range(progress.done, len(waves)):
                _write(partial.store, config, waves[number], snapshots(config, turbulence, number), bar)
                progress.done = number + 1
                progress.filled = np.zeros(0, np.int64)
                partial.save(progress)
        consolidate(str(partial.store))
        partial.publish()
    return target


def snapshots(config: SynthesisConfig, turbulence: Turbulence, wave: int) -> Iterator[NDArray[np.float32]]:
    """Fields q, u, v, ψ (runs, 4, n, n) of a wave of runs, one snapshot after another; row 0 is the northernmost."""
    members = len(config.waves()[wave])
    seed = int(np.random.SeedSequence([config.seed, wave]).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator(turbulence.plane.device).manual_seed(seed)
    with torch.no_grad():
        q = turbulence.initial(members, generator)
        wait = config.spin_up
        for _ in range(config.fields_per_run):
            q = turbulence.advance(q, wait * turbulence.turnover_time, generator)
            yield turbulence.fields(q).flip(-2).float().cpu().numpy()
            wait = config.interval


def _variables(flow: Flow) -> dict[str, dict[str, str]]:
    about = f"of synthetic {flow.title}"
    return {
        flow.scalar: {"long_name": f"{flow.scalar_name} {about}"},
        "u": {"standard_name": "x_wind", "long_name": f"velocity along x {about}"},
        "v": {"standard_name": "y_wind", "long_name": f"velocity along y {about}"},
        "psi": {"long_name": f"streamfunction {about}"},
    }


def _write(path: Path, config: SynthesisConfig, runs: range, fields: Iterator[NDArray[np.float32]], bar: tqdm) -> None:
    group = zarr.open_group(str(path), mode="r+", use_consolidated=False)
    arrays = [array_of(group, name) for name in _variables(find_flow(config.flow))]
    for snapshot, values in enumerate(fields):
        for i, run in enumerate(runs):
            for array, value in zip(arrays, values[i], strict=True):
                array[run * config.fields_per_run + snapshot] = value
        bar.update(len(runs))


def _create(path: Path, config: SynthesisConfig, turbulence: Turbulence) -> None:
    """Coordinates, attributes and empty arrays."""
    n, steps = config.size, config.runs * config.fields_per_run
    x = (np.arange(n) + 0.5 - n / 2) * config.length / n
    y = x[::-1]
    latitude, longitude = places(y, x)
    which = np.arange(steps)
    when = (config.spin_up + config.interval * (which % config.fields_per_run)) * turbulence.turnover_time
    mapping = {
        "grid_mapping_name": "lambert_azimuthal_equal_area",
        "latitude_of_projection_origin": CENTRE[0],
        "longitude_of_projection_origin": CENTRE[1],
        "earth_radius": EARTH_RADIUS_KM * 1000,
        "comment": "of convenience: the flow knows no sphere",
    }
    xr.Dataset(
        coords={
            "time": ("time", which, {"long_name": "snapshots, counted over all runs", "axis": "T"}),
            "run": ("time", which // config.fields_per_run, {"long_name": "independent run"}),
            "model_time": ("time", when, {"long_name": "time since the run began", "units": "1"}),
            "y": ("y", y, {"standard_name": "projection_y_coordinate", "units": "km", "axis": "Y"}),
            "x": ("x", x, {"standard_name": "projection_x_coordinate", "units": "km", "axis": "X"}),
            "latitude": (("y", "x"), latitude, {"standard_name": "latitude", "units": "degrees_north"}),
            "longitude": (("y", "x"), longitude, {"standard_name": "longitude", "units": "degrees_east"}),
            MAPPING: ((), np.int32(0), mapping),
        },
        attrs=_attributes(config, turbulence),
    ).to_zarr(path, mode="w", zarr_format=3, consolidated=False)
    group = zarr.open_group(str(path), mode="a")
    for name, attributes in _variables(turbulence.flow).items():
        group.create_array(
            name,
            shape=(steps, n, n),
            chunks=(1, n, n),
            dtype="float32",
            fill_value=float("nan"),
            compressors=BloscCodec(cname="lz4", shuffle="shuffle"),
            dimension_names=["time", "y", "x"],
            attributes={"units": "1", **attributes, "grid_mapping": MAPPING, "coordinates": "latitude longitude"},
        )


def _attributes(config: SynthesisConfig, turbulence: Turbulence) -> dict[str, Any]:
    flow = turbulence.flow
    return {
        "Conventions": "CF-1.11",
        "title": f"SYNTHETIC: {flow.title}, {config.runs} independent runs",
        "synthetic": "true",
        "source": f"fdsr synthesise: pseudo-spectral simulation of ∂q/∂t + u·∇q = F − D q, q = −(−Δ)^(α/2) ψ, α = {flow.alpha:g}, "
        f"on a doubly periodic plane; no observation or weather model is in it",
        "periodic": "y x",
        "spectral_slope_of_cascade": flow.spectral_slope,
        "turnover_time": turbulence.turnover_time,
        "fields_per_run": config.fields_per_run,
        "parameters": asdict(config),
    }


def places(y: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Latitude and longitude (H, W) in degrees of a Lambert azimuthal equal-area plane, y and x in km (Snyder 1987, p. 186)."""
    centre, meridian = np.deg2rad(CENTRE)
    rows, columns = np.meshgrid(y, x, indexing="ij")
    distance = np.maximum(np.hypot(rows, columns), 1e-9)
    angle = 2 * np.arcsin(distance / (2 * EARTH_RADIUS_KM))
    latitude = np.arcsin(np.cos(angle) * np.sin(centre) + rows * np.sin(angle) * np.cos(centre) / distance)
    longitude = meridian + np.arctan2(
        columns * np.sin(angle), distance * np.cos(centre) * np.cos(angle) - rows * np.sin(centre) * np.sin(angle)
    )
    return np.rad2deg(latitude), np.rad2deg(longitude)
