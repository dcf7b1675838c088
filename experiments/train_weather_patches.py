"""Train the network behind `weather_frechet` and write the weights that fdsr ships.

    fdsr synthesise --target cache/turbulence.zarr
    python experiments/train_weather_patches.py --source cache/turbulence.zarr [--steps 1200] [--output FILE]

Seeded; a few minutes on one core. Every step draws whole synthetic fields, does four things to each that are exact on their
periodic plane, cuts a patch and asks the network what was done. The last tenth of the runs is held out for the error that the weights
file states.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from fdsr.metrics.patch_network import PATCH, TASKS, PatchNetwork

WEIGHTS = Path(__file__).parents[1] / "fdsr" / "metrics" / "weights" / "weather_patches.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="store that fdsr synthesise wrote")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    settings = {name: getattr(arguments, name) for name in ("steps", "batch_size", "lr", "seed")}

    with xr.open_zarr(arguments.source) as ds:
        runs, attributes = ds.run.values, ds.attrs
        fields = torch.from_numpy(np.stack([ds[name].values for name in ds.data_vars], axis=1))
    held = runs >= int(0.9 * (runs.max() + 1))
    train, test = (fields[torch.from_numpy(which)].flatten(0, 1) for which in (~held, held))
    model = fit(train, **settings)
    error = errors(model, test)
    facts = {
        "r2_on_held_out_runs": json.dumps(error),
        "parameters": str(sum(p.numel() for p in model.parameters())),
        "training": json.dumps(settings),
        "data": f"{attributes['title']}; parameters {json.dumps(attributes['parameters'])}",
    }
    partial = arguments.output.with_suffix(".partial")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, partial, metadata=facts)
    partial.replace(arguments.output)
    print(f"{arguments.output}: share of variance explained {error}")


def changed(fields: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Patches (B, 32, 32) of fields (B, n, n) to which something was done, and what: (B, 4) in −1 … 1.

    Blur: a Gaussian of σ = 0 … 2.5 cells. Tilt: amplitudes times (k/k_c)^s, s = −0.7 … 0.7. Noise: white, 0 … 0.3 of the
    deviation. Shuffle: a share of the waves has random phases. Each is left out for half of the fields. Units are those of the
    patch before the change.
    """
    b, n = fields.shape[0], fields.shape[-1]
    amount = torch.rand(b, 4, generator=generator) * (torch.rand(b, 4, generator=generator) > 0.5)
    sign = torch.where(torch.rand(b, generator=generator) < 0.5, -1.0, 1.0)
    blur, tilt, noise, shuffle = 2.5 * amount[:, 0], 0.7 * sign * amount[:, 1], 0.3 * amount[:, 2], amount[:, 3]

    def each(x: Tensor) -> Tensor:
        return x[:, None, None]

    k = torch.hypot(torch.fft.fftfreq(n)[:, None], torch.fft.rfftfreq(n)[None, :])  # cycles per cell
    gain = torch.exp(-0.5 * (2 * np.pi * k * each(blur)) ** 2) * (k.clamp(min=1 / n) * 8) ** each(tilt)
    # phases of white noise are those of a real field
    phases = torch.fft.rfft2(torch.randn(b, n, n, generator=generator))
    spun = torch.rand(b, n, n // 2 + 1, generator=generator) < each(shuffle)
    coefficients = torch.fft.rfft2(fields)
    turned = torch.where(spun, coefficients.abs() * phases / phases.abs().clamp(min=1e-12), coefficients)
    row, column = (int(x) for x in torch.randint(n, (2,), generator=generator))
    place = (slice(None), slice(0, PATCH), slice(0, PATCH))
    before = fields.roll((row, column), (-2, -1))[place]
    after = torch.fft.irfft2(turned * gain, s=(n, n)).roll((row, column), (-2, -1))[place]
    mean, deviation = before.mean((-2, -1), keepdim=True), before.std((-2, -1), keepdim=True)
    patches = (after - mean) / deviation + each(noise) * torch.randn(b, PATCH, PATCH, generator=generator)
    return patches, torch.stack(
        [2 * amount[:, 0] - 1, sign * amount[:, 1], 2 * amount[:, 2] - 1, 2 * amount[:, 3] - 1], 1
    )


def fit(fields: Tensor, steps: int, batch_size: int, lr: float, seed: int) -> PatchNetwork:
    """Adam, one cycle of the learning rate, mean square error of the four answers."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = PatchNetwork()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps, pct_start=0.1)
    with tqdm(range(steps), desc="patches") as progress:
        for _ in progress:
            chosen = torch.randint(len(fields), (batch_size,), generator=generator)
            patches, answers = changed(fields[chosen], generator)
            loss = F.mse_loss(model(patches), answers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


@torch.inference_mode()
def errors(model: PatchNetwork, fields: Tensor) -> dict[str, float]:
    """Share of the variance of each answer that the network explains on fields it has not seen."""
    generator = torch.Generator().manual_seed(1)
    pairs = [changed(part, generator) for part in fields.split(64)]
    answers, given = torch.cat([a for _, a in pairs]), torch.cat([model(p) for p, _ in pairs])
    explained = 1 - (given - answers).square().mean(0) / answers.var(0)
    return {name: round(float(value), 3) for name, value in zip(TASKS, explained, strict=True)}


if __name__ == "__main__":
    main()
