"""How far a network sees, and how much memory an evaluation of it takes: both found by trying it."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# a network that sees farther than this many points sees everything
_FARTHEST = 1024


def receptive_field(network: nn.Module, x: Tensor, *inputs: Any, **latent: Any) -> tuple[int, int] | None:
    """(rows, columns) that anything beyond a straight edge reaches into a field; None: everything sees everything, as in attention.

    x (1, C, H, W) and the other inputs are an example of what the network is given; only its channels matter. Where x is not a
    number the output is none either, and so what is reached is seen exactly, whatever the weights. Edges are at multiples of the
    network's stride. Group normalisation, whose statistics are those of all it is given, is left out: see `depends_on_extent`.
    """
    reach = []
    for axis in (-2, -1):
        found = _reach(network, x, axis, inputs, latent)
        if found is None:
            return None
        reach.append(found)
    return reach[0], reach[1]


def depends_on_extent(network: nn.Module) -> bool:
    """Whether the output at a point depends, by statistics over the field, on how far the field extends."""
    return any(isinstance(part, _OVER_FIELDS) for part in network.modules())


_OVER_FIELDS = (nn.GroupNorm, nn.InstanceNorm2d)


def stride_of(network: nn.Module) -> int:
    """The number of points at a multiple of which a field may be cut; 16 where the network does not tell it as `stride`."""
    return int(getattr(network, "stride", 16))


def _reach(network: nn.Module, x: Tensor, axis: int, inputs: Sequence[Any], latent: Mapping[str, Any]) -> int | None:
    stride, length = stride_of(network), 16 * stride_of(network)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for part in network.modules():
            if isinstance(part, _OVER_FIELDS):
                handle = part.register_forward_hook(lambda part, given, output: given[0])
                stack.callback(handle.remove)
        while length <= 2 * _FARTHEST + stride:
            strip = x.new_zeros(1, x.shape[1], *((length, stride) if axis == -2 else (stride, length)))
            middle = length // 2 // stride * stride
            strip.narrow(axis, middle, stride).fill_(torch.nan)
            touched = network(strip, *inputs, **latent).isnan().any(1).any(-1 if axis == -2 else -2)[0].nonzero()[:, 0]
            first, last = int(touched.min()), int(touched.max())
            if first > 0 and last < length - 1:
                return max(middle - first, last - (middle + stride - 1))
            length *= 2
    return None


def bytes_per_point(network: nn.Module, x: Tensor, *inputs: Any, **latent: Any) -> float:
    """Bytes that live at once in an evaluation without gradients, over the points of the field; x (1, C, H, W) as in `receptive_field`.

    Weights are none of them. Of a network whose memory grows with the number of points, as all here do.
    """
    side = 16 * stride_of(network)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), _Peak(network) as peak:
        network(x.new_zeros(1, x.shape[1], side, side), *inputs, **latent)
    return peak.most / side**2


class _Peak(TorchDispatchMode):
    """Bytes of the tensors that live at once, of those made while it is on. Views of the network's weights are not made."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen = {x.untyped_storage()._cdata for x in chain(network.parameters(), network.buffers())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size
