"""The discriminator: any size and batch, what it depends on, and its second derivatives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fdsr.backbones import (
    available_backbones,
    build_discriminator,
    register_discriminator,
)
from fdsr.backbones.discriminator import minibatch_stddev

SMALL = {"width": 8, "multipliers": (1, 2, 2)}
STEMS = [{"stem": 1}, {"stem": 3}, {"stem": 2, "stem_stride": 2}, {"stem": 4, "stem_stride": 2}]


def build(**settings: object) -> nn.Module:
    return build_discriminator("half_unet", in_channels=3, **{**SMALL, **settings}).eval()


@given(
    batch=st.integers(1, 9),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    patch=st.integers(1, 3),
    stem=st.sampled_from(STEMS),
    pool=st.sampled_from(["sum", "mean"]),
    wrap=st.booleans(),
)
def test_any_size_and_batch(
    batch: int, height: int, width: int, patch: int, stem: dict[str, int], pool: str, wrap: bool
) -> None:
    v = build(patch_size=patch, pool=pool, **stem)(
        torch.randn(batch, 3, height, width), torch.arange(1.0, batch + 1), wrap=wrap
    )
    assert v.shape == (batch,) and bool(v.isfinite().all())


@pytest.mark.parametrize(("batch", "size"), [(8, 4), (6, 3), (4, 4), (7, 1), (2, 2), (10, 2)])
def test_minibatch_stddev_is_its_formula(batch: int, size: int) -> None:
    h = torch.randn(batch, 5, 3, 2, dtype=torch.float64)
    out = minibatch_stddev(h, 4)
    assert out.shape == (batch, 6, 3, 2) and torch.equal(out[:, :5], h)
    for i in range(batch):
        members = [j for j in range(batch) if j % (batch // size) == i % (batch // size)]
        assert len(members) == size
        expected = h[members].std(0, unbiased=False).mean() if size > 1 else torch.tensor(1e-4, dtype=torch.float64)
        torch.testing.assert_close(out[i, 5], expected.expand(3, 2), rtol=1e-5, atol=1e-7)


def test_it_sees_a_batch_that_lacks_variety() -> None:
    net, x = build(), torch.randn(4, 3, 8, 8)
    same = x[:1].expand(4, -1, -1, -1)
    assert (net(same, 1.0)[0] - net(x, 1.0)[0]).abs() > 1e-4
    alone = build(group=1)
    torch.testing.assert_close(alone(x, 1.0)[:1], alone(x[:1], 1.0), rtol=1e-4, atol=1e-5)


def test_depends_on_time_and_on_every_channel() -> None:
    net, x = build(group=1), torch.randn(2, 3, 8, 8)
    assert (net(x, torch.tensor([1.0, 1.0])) - net(x, torch.tensor([1.0, 700.0]))).abs().max() > 1e-4
    assert (net(x, 1.0) - net(x, 700.0)).abs().min() > 1e-5
    for channel in range(3):
        other = x.clone()
        other[:, channel] += 1
        assert (net(x, 1.0) - net(other, 1.0)).abs().min() > 1e-5


@pytest.mark.parametrize(
    ("shift", "settings"),
    [(4, {}), (8, {}), (8, {"patch_size": 2}), (4, {"multipliers": (1, 2), "stem": 4, "stem_stride": 2}),
     (8, {"multipliers": (1, 2), "patch_size": 2, "stem": 4, "stem_stride": 2})],
)  # fmt: skip
def test_closed_circle_does_not_know_where_it_was_cut(shift: int, settings: dict) -> None:
    net = build(**settings).double()
    x = torch.randn(2, 3, 9, 16, dtype=torch.float64)
    torch.testing.assert_close(net(x.roll(shift, -1), 3.0, wrap=True), net(x, 3.0, wrap=True))
    assert (net(x.roll(shift, -1), 3.0) - net(x, 3.0)).abs().max() > 1e-5


@pytest.mark.parametrize("settings", [{}, {"patch_size": 2}, {"stem": 4, "stem_stride": 2, "pool": "mean"}])
def test_gradients_reach_every_parameter_also_through_the_penalty(settings: dict) -> None:
    net, x = build(**settings), torch.randn(4, 3, 8, 8, requires_grad=True)
    net(x, 1.0).sum().backward(retain_graph=True)
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    net.zero_grad()
    (gradient,) = torch.autograd.grad(net(x, 1.0).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    # V is linear in the head's bias and between the kinks of its activations: those biases alone may be free
    assert [n for n, p in net.named_parameters() if n.endswith("weight") and "embed" not in n and "time" not in n
            and (p.grad is None or not p.grad.any())] == []  # fmt: skip


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("stem", STEMS)
def test_second_derivatives_are_right(stem: dict[str, int], wrap: bool) -> None:
    net = build(multipliers=(1, 2), **stem).double()
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda a: net(a, 1.0, wrap=wrap), x, atol=1e-5)


@pytest.mark.parametrize("width", [8, 32, 48])
@pytest.mark.parametrize("size", [16, 28, 48])
@pytest.mark.parametrize(
    "settings", [{"stem": 4, "stem_stride": 2}, {"patch_size": 2}, {"stem": 3}, {"stem": 3, "pool": "mean"}]
)
def test_v_tells_samples_apart_from_the_start(width: int, size: int, settings: dict) -> None:
    """The signal keeps its variance on its way to V, for fields of white noise and for smooth ones."""
    torch.manual_seed(1)
    net = build(width=width, multipliers=(1, 2, 4), **settings)
    white = torch.randn(32, 3, size, size)
    smooth = torch.nn.functional.interpolate(torch.randn(32, 3, 4, 4), size=(size, size), mode="bicubic")
    with torch.no_grad():
        # a sum over positions has their number, or for white noise its root, times the spread of a mean
        least, most = (0.02, 1.0) if settings.get("pool") == "mean" else (0.5, 100.0)
        assert all(least < float(net(x, 500.0).std()) < most for x in (white, smooth))
        for layer in net.modules():  # torch's own initialisation, under which everything looks alike
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
        assert all(float(net(x, 500.0).std()) < least for x in (white, smooth))


def test_mean_over_positions_has_one_scale_on_fields_of_every_size() -> None:
    x = torch.randn(8, 3, 16, 16)
    for pool, factor in (("sum", 4.0), ("mean", 1.0)):
        net = build(pool=pool, group=1)
        torch.nn.init.zeros_(net.head.bias)  # type: ignore[union-attr, arg-type]
        # a periodic field and the same twice as long and wide: the same positions, four times as many
        one, four = (net(torch.cat([y.repeat(1, 1, 4, 1)], 2), 1.0, wrap=True) for y in (x, x.repeat(1, 1, 1, 4)))
        torch.testing.assert_close(four, factor * one, rtol=1e-3, atol=1e-3)


def test_registry() -> None:
    with pytest.raises(ValueError, match="unknown discriminator 'critic'; available: half_unet, unet_encoder"):
        build_discriminator("critic", in_channels=1)
    with pytest.raises(ValueError, match=r"'half_unet' has no setting norm; it accepts: width"):
        build_discriminator("half_unet", in_channels=1, norm="group")
    with pytest.raises(ValueError, match="registered already"):
        register_discriminator("half_unet")(nn.Linear)
    assert "half_unet" not in available_backbones()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        *(({name: 0}, "must be at least 1") for name in ("width", "group", "patch_size", "stem")),
        ({"multipliers": ()}, "must be at least 1"),
        ({"stem": 2}, "stem must be odd with stem_stride 1, or even with stem_stride 2"),
        ({"stem": 3, "stem_stride": 2}, "stem must be odd"),
        ({"stem": 4, "stem_stride": 4}, "stem must be odd"),
        ({"pool": "max"}, "pool must be one of sum, mean, not 'max'"),
    ],
)
def test_impossible_settings_are_one_clear_line(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        build(**settings)
    assert str(caught.value).startswith("half_unet: ") and "\n" not in str(caught.value)
