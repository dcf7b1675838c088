"""CRPSModule: an ensemble in one pass, trained by proper scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fdsr.diffusion import CoefficientCRPS, ColouredNoise, RealFourier, ScoreTerm, Spectrum, Transform, fair_crps
from fdsr.errors import FdsrError
from fdsr.modules.codec import Batch, Codec
from fdsr.modules.generative import GenerativeModule
from fdsr.modules.masking import cut, neutral, points_over_present


class CRPSModule(GenerativeModule):
    """A generator G(η, c) of one network evaluation a member, η ~ N(0, I), trained by two or more members a sample:

        L = mean fairCRPS(G, x_0) + λ · term(G, x_0).

    It is Fourier diffusion's joint loss in space and in coefficients with the square replaced by a proper score; and here the
    term in coefficients is not redundant (see `CoefficientCRPS`). G starts as the climatologically dressed forecast: the
    network sees noise with the target's spectrum, and adds to it.

    Args:
        draws: members a sample in training, each of which costs a network evaluation.
        term: what is scored besides the values at points.
        strength: λ of that term; 0 leaves it out.
        transform: the basis f of the noise and of the term.
        dressed: whether the network's output is added to the noise that it is given; otherwise it is the sample.
        kwargs: what GenerativeModule takes.
    """

    sample_evaluations = 1
    meaning = (*GenerativeModule.meaning, "transform", "dressed")

    def __init__(
        self,
        draws: int = 2,
        term: ScoreTerm = CoefficientCRPS(),
        strength: float = 1.0,
        transform: Transform = RealFourier(),
        dressed: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if draws < 2 or strength < 0:
            raise FdsrError("model: draws must be at least 2, and strength not negative")
        self.draws, self.term, self.strength = draws, term, strength
        self.transform, self.dressed, self.noise = transform, dressed, ColouredNoise()
        self.spectrum: Spectrum | None = None

    def input_channels(self, codec: Codec) -> int:
        return codec.channels

    def prepare(self, codec: Codec) -> None:
        self.spectrum = codec.spectrum(self.transform)
        self.spectrum.stored()  # refused here where no power is known, and not at the first batch

    def draw(self, eta: Tensor, condition: Tensor) -> Tensor:
        """x_0 (N, C, H, W) of white η like it, in float32."""
        assert self.spectrum is not None
        noise = self.noise.colour(eta, self.spectrum)
        x = torch.cat([noise, condition], dim=1)
        output = self.evaluate(x, None)
        return noise + output if self.dressed else output

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        assert self.spectrum is not None
        x_0, condition, present, counted = self.targets(batch)
        eta = torch.randn(self.draws * len(x_0), *x_0.shape[1:], generator=rng, device=x_0.device)
        members = self.draw(eta, condition.repeat(self.draws, 1, 1, 1)).unflatten(0, (self.draws, -1))
        members = neutral(members, present)
        members, x_0 = counted(members.flatten(0, 1)).unflatten(0, (self.draws, -1)), counted(x_0)
        with torch.autocast(x_0.device.type, enabled=False):
            loss = fair_crps(members, x_0).mean()
            if self.strength:
                loss = loss + self.strength * self._term(members, x_0, self.spectrum)
        return loss * points_over_present(cut(counted, present))

    def _term(self, members: Tensor, x_0: Tensor, spectrum: Spectrum) -> Tensor:
        try:
            return self.term(members, x_0, spectrum)
        except ValueError as error:  # patches that it cannot score
            raise FdsrError(str(error)) from error

    def sample(
        self, condition: Tensor, shape: Sequence[int], rngs: list[torch.Generator], settle: Callable[[Tensor], Tensor]
    ) -> Tensor:
        eta = torch.stack([torch.randn(shape, generator=rng, device=condition.device) for rng in rngs])
        return settle(self.draw(eta, condition))
