"""The latent vector: it reaches the output, its length alone does not matter, and it is asked for."""

import pytest
import torch
from torch import nn

from fdsr.backbones import build_backbone
from fdsr.backbones.embedding import LatentMapping

NETWORKS = {
    "unet": {"width": 8, "groups": 4, "multipliers": (1, 2)},
    "dit": {"width": 16, "depth": 2, "heads": 2, "patch_size": 2},
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def build(name: str, **settings: object) -> nn.Module:
    net = build_backbone(name, in_channels=3, out_channels=2, **{**NETWORKS[name], **settings}).eval()
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return net


@each_network
def test_the_latent_modulates_sample_by_sample(name: str) -> None:
    net = build(name, latent_dim=5)
    x, z = torch.randn(1, 3, 8, 8).expand(3, -1, -1, -1), torch.randn(3, 5)
    z[2] = 3 * z[0]  # the same direction
    with torch.no_grad():
        y = net(x, 4, z=z)
        assert (y[0] - y[1]).abs().max() > 1e-2
        torch.testing.assert_close(y[0], y[2], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net(x[:1], 4, z=z[1:2]), y[1:2], rtol=1e-4, atol=1e-5)


@each_network
def test_gradient_reaches_the_mapping_and_z(name: str) -> None:
    net, z = build(name, latent_dim=5, latent_layers=2), torch.randn(2, 5, requires_grad=True)
    net(torch.randn(2, 3, 8, 8), torch.tensor([1.0, 9.0]), z=z).square().sum().backward()
    assert len(net.latent.layers) == 2 and z.grad is not None and z.grad.any()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_latent_without_time() -> None:
    net = build("unet", latent_dim=5, time_embedding=False)
    assert net(torch.randn(1, 3, 8, 8), z=torch.randn(1, 5)).shape == (1, 2, 8, 8)
    with pytest.raises(ValueError, match="takes no t"):
        net(torch.randn(1, 3, 8, 8), 1, z=torch.randn(1, 5))


@each_network
def test_a_latent_missed_or_unasked_for_is_an_error(name: str) -> None:
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match="needs z"):
        build(name, latent_dim=5)(x, 1)
    with pytest.raises(ValueError, match="without takes none"):
        build(name)(x, 1, z=torch.randn(1, 5))
    with pytest.raises(ValueError, match="at least 1 layer"):
        build(name, latent_dim=5, latent_layers=0)


@each_network
def test_without_a_latent_nothing_is_added(name: str) -> None:
    torch.manual_seed(0)
    plain = build_backbone(name, in_channels=3, out_channels=2, **NETWORKS[name]).state_dict()
    torch.manual_seed(0)
    zero = build_backbone(name, in_channels=3, out_channels=2, **NETWORKS[name], latent_dim=0).state_dict()
    assert plain.keys() == zero.keys() and all(torch.equal(plain[k], zero[k]) for k in plain)


def test_mapping_keeps_a_variance_near_one() -> None:
    with torch.no_grad():
        out = torch.stack([LatentMapping(64, 128, 3)(20 * torch.randn(256, 64)) for _ in range(4)])
    assert 0.4 < float(out.square().mean()) < 2.5
