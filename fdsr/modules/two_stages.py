"""Two stages: a trained regression read from its checkpoint, and the residual that it leaves over the train block."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from fdsr.data.field_spec import FieldSpec
from fdsr.data.making.local_scale import representative
from fdsr.data.making.statistics import tile_size
from fdsr.data.serving.datasets import FieldDataset
from fdsr.data.serving.shares import evaluation_share
from fdsr.errors import FdsrError
from fdsr.modules.field_codec import FieldCodec
from fdsr.modules.first_stage import ErrorSums, FirstStage
from fdsr.modules.pretrained import load_module
from fdsr.modules.regression import RegressionModule
from fdsr.modules.settings import plain
from fdsr.modules.targets import LOCAL_SCALES

# how much larger than on the train block the regression's error on the validation block may be before it is remarked
_OVERFITTED = 1.1


def read_regression(path: str, spec: FieldSpec, where: str) -> FirstStage:
    """The regression in the checkpoint or model folder `path`, without statistics of its residual.

    Raises FdsrError unless it holds a RegressionModule of one stage that was trained on data like `spec`.
    """
    module = load_module(path)
    if not isinstance(module, RegressionModule) or module.target == "regression":
        raise FdsrError(
            f"model.regression_ckpt '{path}' holds a {type(module).__name__}; give one that RegressionModule wrote"
        )
    module.home.require_same(spec, where)
    nothing = torch.zeros(0, dtype=torch.float64)
    state = {name: value.detach().cpu() for name, value in module.network.state_dict().items()}
    likelihood = plain(module.likelihood, "model.likelihood")
    return FirstStage(
        module.backbone, module.backbone_args, module.target, state, nothing, nothing, nothing, likelihood
    )


def measure_errors(
    stage: FirstStage,
    fields: FieldDataset,
    local_scale: str = "none",
    device: torch.device | str = "cpu",
    place: tuple[int, int] = (0, 1),
    reduce: Callable[[Tensor], Tensor] = lambda x: x,
    quiet: bool = True,
) -> ErrorSums:
    """Sums of the regression's error, truth less its forecast, over the whole fields of a block, or 512 of more.

    It is in standardised units, divided by what is known of x_0's scale: the deviation that is predicted, `stage`'s statistics. Of
    rain it is that of coarse cells that are not dry.
    `place` is (rank, world size): each process measures its share, and `reduce` adds up a tensor over all of them.
    """
    spec, (rank, world) = fields.spec, place
    codec, tile = FieldCodec(spec, "regression", None, stage, local_scale).to(device), tile_size(spec.shape)
    sums = ErrorSums.none(codec.channels, spec.shape, tile)
    steps = representative(len(fields))
    share = [steps[i] for i in evaluation_share(len(steps), rank, world)]
    with torch.no_grad():
        for i in tqdm(share, desc="residuals of the regression", unit="time", leave=False, disable=quiet or rank > 0):
            batch = {k: v.to(device) for k, v in default_collate([fields[i]]).items()}
            encoded = codec.encode(batch)
            error = (codec.standardise(batch["high"]) - encoded.base) / encoded.scale
            if encoded.idle is not None:
                error = error.masked_fill(encoded.idle, torch.nan)
            sums = sums + ErrorSums.of(error[0].double().cpu().numpy(), tile)
    return ErrorSums(
        *(reduce(torch.from_numpy(getattr(sums, f.name)).to(device)).cpu().numpy() for f in fields_of(sums))
    )


def measured(
    stage: FirstStage,
    fields: FieldDataset,
    unseen: FieldDataset | None = None,
    local_scale: str = "none",
    **how: Any,
) -> FirstStage:
    """`stage` with the statistics of its residual over the train block `fields`; `how` as in `measure_errors`.

    Warns where the error on the block `unseen` is much larger: a second stage learns from residuals that are too small then.
    Raises FdsrError where the regression leaves nothing to learn.
    """
    sums = measure_errors(stage, fields, local_scale, **how)
    names = fields.spec.high_channels
    for name, square in zip(names, sums.square, strict=True):
        if not square > 0:
            raise FdsrError(f"the regression leaves no residual of variable '{name}'; there is nothing left to learn")
    if unseen is not None and len(unseen):
        ratio = measure_errors(stage, unseen, local_scale, **how).std / sums.std
        if ratio.max() > _OVERFITTED:
            warnings.warn(
                f"the regression's error is {ratio.max():.2f} times as large on the validation block as on the training "
                "block: the second stage will be too sure of itself; train the regression for fewer steps or regularise it",
                stacklevel=2,
            )
    stage = stage.with_statistics(sums)
    if LOCAL_SCALES[local_scale].climatological:  # power after the division by it, which takes another pass
        local = torch.from_numpy(sums.local_scale(fields.spec.periodic))
        stage = replace(stage, local_scale=local)
        stage = replace(stage, power=measure_errors(stage, fields, local_scale, **how).normalised_power)
    return stage
