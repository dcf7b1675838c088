"""What every backbone must do, whichever its name."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fdsr.backbones import build_backbone

UNET = {"width": 8, "groups": 4, "attention_heads": 2}
CONFIGURATIONS = {
    "unet": ("unet", UNET),
    "unet-attention": ("unet", {**UNET, "attention_levels": (1,), "multipliers": (1, 2)}),
    "unet-patch": ("unet", {**UNET, "patch_size": 2, "multipliers": (1, 2), "blocks": 2}),
    "unet-pixel": ("unet", {**UNET, "norm": "pixel", "multipliers": (1, 2), "attention_levels": (1,)}),
    "unet-one-level": ("unet", {**UNET, "multipliers": (1,), "attention_levels": (0,)}),
    "dit": ("dit", {"width": 16, "depth": 2, "heads": 2, "patch_size": 2}),
}
each_configuration = pytest.mark.parametrize("name", CONFIGURATIONS)


def build(name: str, *, awake: bool = True, **extra: object) -> nn.Module:
    """A network of 3 → 2 channels; `awake` gives the parameters that start at zero random values."""
    backbone, kwargs = CONFIGURATIONS[name]
    net = build_backbone(backbone, in_channels=3, out_channels=2, **{**kwargs, **extra}).eval()
    if awake:
        for parameter in net.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.2)
    return net


@each_configuration
@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 19), width=st.integers(1, 19), wrap=st.booleans())
def test_any_size_comes_back(name: str, height: int, width: int, wrap: bool) -> None:
    with torch.no_grad():
        y = build(name)(torch.randn(2, 3, height, width), torch.tensor([1.0, 2.0]), wrap=wrap)
    assert y.shape == (2, 2, height, width)
    assert torch.isfinite(y).all()


@each_configuration
def test_starts_at_zero(name: str) -> None:
    y = build(name, awake=False)(torch.randn(2, 3, 8, 8), torch.tensor([1, 7]))
    assert torch.equal(y, torch.zeros(2, 2, 8, 8))


@each_configuration
@pytest.mark.parametrize("turns", [1, 3])
def test_closed_circle_rolls_with_its_input(name: str, turns: int) -> None:
    net = build(name).double()
    x, t = torch.randn(1, 3, 9, 16, dtype=torch.float64), torch.tensor([3.0])
    shift = turns * net.stride
    with torch.no_grad():
        rolled = net(x.roll(shift, -1), t, wrap=True)
        # the rotary and time tables are float32
        torch.testing.assert_close(rolled, net(x, t, wrap=True).roll(shift, -1), atol=2e-5, rtol=0)
        assert (net(x.roll(shift, -1), t) - net(x, t).roll(shift, -1)).abs().max() > 1e-3
        assert (net(x, t) - net(x, t, wrap=True)).abs().max() > 1e-3


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if name != "dit"])
def test_unet_rolls_to_float64_rounding(name: str) -> None:
    net = build(name).double()
    x = torch.randn(1, 3, 9, 16, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(
            net(x.roll(net.stride, -1), 2, wrap=True), net(x, 2, wrap=True).roll(net.stride, -1), atol=1e-12, rtol=1e-12
        )


@each_configuration
def test_depends_on_time_sample_by_sample(name: str) -> None:
    net = build(name)
    x = torch.randn(1, 3, 8, 8).expand(3, -1, -1, -1)
    with torch.no_grad():
        y = net(x, torch.tensor([1, 1, 50]))
        torch.testing.assert_close(y[0], y[1])
        assert (y[0] - y[2]).abs().max() > 1e-3
        torch.testing.assert_close(net(x, 50)[0], y[2], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(net(x), net(x, 0))


@each_configuration
def test_samples_do_not_mix(name: str) -> None:
    net = build(name)
    x, t = torch.randn(3, 3, 8, 8), torch.tensor([1.0, 5.0, 9.0])
    with torch.no_grad():
        torch.testing.assert_close(net(x, t)[1:2], net(x[1:2], t[1:2]), atol=1e-5, rtol=1e-4)


@each_configuration
@pytest.mark.parametrize("timed", [True, False])
def test_gradient_reaches_every_parameter(name: str, timed: bool) -> None:
    net = build(name)
    net(torch.randn(2, 3, 8, 8), torch.tensor([1.0, 9.0]) if timed else None).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@each_configuration
def test_recomputed_activations_give_the_same_gradients(name: str) -> None:
    extra = {} if name == "dit" else {"dropout": 0.3}
    plain, thrifty = build(name, **extra), build(name, **extra, recompute=True)
    thrifty.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 8, 8)
    kept = {}
    for net in (plain.train(), thrifty.train()):
        torch.manual_seed(1)  # of dropout, which the second pass has to repeat
        elements = [0]

        def count(tensor: torch.Tensor, elements: list[int] = elements) -> torch.Tensor:
            elements[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = net(x, torch.tensor([1.0, 9.0])).square().sum()
        loss.backward()
        kept[net] = elements[0]
    for (label, p), q in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, msg=label)
    assert kept[thrifty] < 0.7 * kept[plain]


@each_configuration
def test_layout_changes_rounding_only(name: str) -> None:
    net = build(name)
    x = torch.randn(2, 3, 8, 12)
    contiguous = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        torch.testing.assert_close(net(x, 3), contiguous(x, 3), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(net(x.contiguous(memory_format=torch.channels_last), 3), net(x, 3))
    weights = [p for p in net.parameters() if p.dim() == 4]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


@each_configuration
def test_state_dict_round_trip(name: str) -> None:
    net, other = build(name), build(name, awake=False)
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(net(x, 3), other(x, 3))
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in other.parameters() if w.dim() == 4)


@each_configuration
def test_learns_a_constant(name: str) -> None:
    net = build(name, awake=False).train()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    x, target = torch.randn(4, 3, 8, 8), torch.tensor([1.0, -2.0])[None, :, None, None].expand(4, -1, 8, 8)
    for _ in range(30):
        optimiser.zero_grad()
        loss = (net(x, 1) - target).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 1.0
