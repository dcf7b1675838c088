"""Few-step methods that begin from a trained DDPM: is it the same model, and what of its weights goes where."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fdsr.backbones import find_network
from fdsr.backbones.embedding import LatentMapping
from fdsr.backbones.registry import Kind
from fdsr.backbones.unet_encoder import UNetEncoder
from fdsr.diffusion import Noise, NoPreconditioning, Preconditioning, ScalarPreconditioning, WhiteNoise
from fdsr.errors import FdsrError
from fdsr.modules.ddpm import DDPMModule
from fdsr.modules.generative import GenerativeModule
from fdsr.modules.kinds import kind_of
from fdsr.modules.pretrained import load_module

# settings of a backbone that change nothing of what it computes from its weights, or that a DDPM has no use for
_FREE = ("latent_dim", "latent_layers", "dropout", "recompute")


def read_ddpm(
    path: str,
    module: GenerativeModule,
    prediction: str,
    noise: Noise = WhiteNoise(),
    precondition: Preconditioning = NoPreconditioning(),
) -> DDPMModule:
    """The DDPMModule at `path`, with its averaged weights, whose x̂_0 at a noise level `module` can begin as.

    Networks are told a time that says the noise level, t · 1000/T of the VP schedule, whatever T: see
    `GaussianDiffusion.network_time`. Raises FdsrError in one line for one that differs in what its weights mean.
    """
    ddpm = load_module(path)
    if not isinstance(ddpm, DDPMModule):
        raise FdsrError(f"model.from_ddpm '{path}' holds a {type(ddpm).__name__}; give one that DDPMModule wrote")
    if kind_of(ddpm.spec) != kind_of(module.spec):
        raise FdsrError(
            f"model.from_ddpm '{path}' was trained on {kind_of(ddpm.spec)}, the data are {kind_of(module.spec)}"
        )
    ddpm.home.require_same(module.home, "data")
    facts = [
        {"backbone": m.backbone, **_settings("backbone", m.backbone, m.backbone_args), "target": m.target,
         "local_scale": m.local_scale, "condition channels": m.codec.condition_channels,
         "first stage": m.codec.stage and m.codec.stage.fingerprint, **others}
        for m, others in (
            (ddpm, {"prediction": ddpm.hparams["prediction"], "schedule": ddpm.hparams["schedule"],
                    "noise": ddpm.noise, "precondition": ddpm.precondition, **_basis(ddpm)}),
            (module, {"prediction": prediction, "schedule": "vp", "noise": noise, "precondition": precondition,
                      **_basis(module)}),
        )
    ]  # fmt: skip
    different = _differences(*facts)
    if different:
        raise FdsrError(f"model.from_ddpm '{path}' does not fit this model: {different}; make them the same")
    return ddpm


def begin_network(network: nn.Module, trained: nn.Module) -> None:
    """Weights of `trained` into a network of the same settings, which may have a latent and see further channels after its own.

    At first neither has an effect: the latent's mapping ends in zero, and so do the weights of further channels.
    """
    own, weights = network.state_dict(), trained.state_dict()
    alien = [k for k in own if k not in weights and not k.startswith("latent.")]
    if alien or [k for k in weights if k not in own]:
        raise FdsrError(
            f"model.from_ddpm: the networks have other layers ({', '.join(alien[:3])}); use one backbone for both"
        )
    with torch.no_grad():
        for name, value in weights.items():
            own[name].zero_()[tuple(map(slice, value.shape))] = value
    latent = getattr(network, "latent", None)
    if isinstance(latent, LatentMapping):
        latent.silence()


def begin_discriminator(discriminator: nn.Module, settings: Mapping[str, Any], ddpm: DDPMModule) -> None:
    """The encoder's weights of a DDPM into a discriminator of the same settings. Raises FdsrError for another one."""
    if not isinstance(discriminator, UNetEncoder) or ddpm.backbone != "unet":
        raise FdsrError(
            "model.discriminator_from_ddpm needs discriminator 'unet_encoder' and a DDPM whose backbone is 'unet'"
        )
    own, theirs = (
        _settings("discriminator", "unet_encoder", settings),
        _settings("backbone", "unet", ddpm.backbone_args),
    )
    different = _differences(
        {k: v for k, v in theirs.items() if k in own}, {k: v for k, v in own.items() if k in theirs}
    )
    if different:
        raise FdsrError(f"model.discriminator_args are not the DDPM's backbone_args: {different}; make them the same")
    discriminator.begin_from(ddpm.network.state_dict(), ddpm.codec.channels)


def _basis(module: GenerativeModule) -> dict[str, Any]:
    """The transform, where noise or preconditioning know a spectrum in it."""
    plain = isinstance(getattr(module, "noise", WhiteNoise()), WhiteNoise) and isinstance(
        getattr(module, "precondition", NoPreconditioning()), NoPreconditioning | ScalarPreconditioning
    )
    return {} if plain else {"transform": getattr(module, "transform", None)}


def _settings(kind: Kind, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a network that say what its weights mean, defaults included."""
    parameters = inspect.signature(find_network(kind, name, arguments)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in {**defaults, **arguments}.items() if k not in _FREE}


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """`name theirs against ours`, one after the other; empty if there are none."""
    names = [k for k in {**wanted, **found} if wanted.get(k) != found.get(k)]
    return "; ".join(f"{k} {found.get(k)} against {wanted.get(k)}" for k in names)
