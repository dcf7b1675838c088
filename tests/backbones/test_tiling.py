"""Fields in tiles: agreement with the whole, the circle of longitude, memory, settings; and no seam, which independent noise has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fdsr.backbones import Tiler, build_backbone, tiling
from fdsr.backbones.cuts import cheapest, cut
from fdsr.backbones.extent import bytes_per_point, depends_on_extent, receptive_field
from fdsr.backbones.tiling import Crew, departure
from fdsr.diffusion import Ancestral, GaussianDiffusion, vp_schedule
from fdsr.errors import FdsrError

CHANNELS = 3


def network(name: str = "unet", **settings: object) -> nn.Module:
    """A small network whose every weight has an effect, in evaluation mode."""
    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 1} if name == "dit" else {"width": 8, "multipliers": (1, 2), "groups": 4}
    made = build_backbone(name, in_channels=CHANNELS, out_channels=2, **sizes | settings).eval()
    for parameter in made.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    return made


def field(rows: int, columns: int, samples: int = 1) -> Tensor:
    return torch.randn(samples, CHANNELS, rows, columns, generator=torch.Generator().manual_seed(1))


T = torch.tensor([3.0])


@pytest.mark.parametrize("circle", [False, True])
@pytest.mark.parametrize(
    ("length", "core", "margin", "stride"), [(256, 64, 25, 2), (724, 100, 57, 4), (180, 8, 0, 1), (96, 40, 3, 16)]
)
def test_weights_of_tiles_sum_to_one(length: int, core: int, margin: int, stride: int, circle: bool) -> None:
    axis = cut(length, core, margin, stride, circle)
    assert not axis.whole and len(set(axis.starts)) == len(axis.starts)
    total, seen = torch.zeros(length), torch.zeros(length)
    for start, weight in zip(axis.starts, axis.weights, strict=True):
        assert start % stride == 0 and 0 <= start < length and (circle or start + axis.size <= length)
        places = (start + torch.arange(axis.size)) % length
        total.index_add_(0, places, weight)
        seen.index_add_(0, places, torch.ones(axis.size))
        # nothing counts within the margin of a cut
        inner = weight[0 if not circle and start == 0 else margin :].numel()
        assert circle or start == 0 or not bool(weight[: axis.size - inner].any())
    torch.testing.assert_close(total, torch.ones(length))
    assert float(seen.min()) >= 1 and bool((axis.weights >= 0).all())


@pytest.mark.parametrize(
    "settings", [{}, {"norm": "pixel"}, {"patch_size": 2, "multipliers": (1,)}, {"multipliers": (1,)}]
)
def test_receptive_field_is_as_far_as_anything_changes(settings: dict) -> None:
    made = network(**settings | {"norm": "pixel"}).double()
    reach, stride = receptive_field(made, field(4, 4).double(), T.double()), made.stride
    assert reach is not None and reach == receptive_field(network(**settings), field(4, 4), T)
    size = 2 * (reach[0] // stride + 2) * stride
    x, farthest = field(size, size).double(), 0
    before = made(x, T.double())
    for edge in (size // 2 // stride * stride, size - stride):  # all beyond a straight edge is another field
        changed = x.clone()
        changed[..., edge:, :] += 1e3 * field(size - edge, size).double()
        rows = (made(changed, T.double()) != before).any(1).any(-1)[0].nonzero()[:, 0]
        farthest = max(farthest, edge - int(rows.min()))
    assert farthest == reach[0]


def test_attention_sees_everything_and_group_norm_depends_on_extent() -> None:
    assert receptive_field(network("dit"), field(4, 4), T) is None
    assert receptive_field(network(attention_levels=(1,)), field(4, 4), T) is None
    assert depends_on_extent(network()) and not depends_on_extent(network(norm="pixel"))


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(160, 256), (133, 235)])
@pytest.mark.parametrize("tile", ["64x64", "96x96", "128x128"])
def test_pixel_norm_agrees_with_the_whole_to_rounding(tile: str, rows: int, columns: int, wrap: bool) -> None:
    made, x, said = network(norm="pixel"), field(rows, columns), []
    with torch.no_grad():
        whole = made(x, T, wrap=wrap)
        tiled = Tiler(tile, said.append)(made, x, T, wrap=wrap)
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))
    assert len(said) == 1 and "receptive field 25: as whole, to rounding" in said[0]


def test_a_margin_too_small_departs_and_says_so() -> None:
    made, x, said = network(norm="pixel"), field(128, 128), []
    small, smaller = (departure(made, f"48x48+{margin}", x, T) for margin in (12, 0))
    assert 1e-5 < small < smaller
    Tiler("48x48+12", said.append)(made, x, T)
    assert "not covered" in said[0]


def test_group_norm_and_attention_are_close_and_say_so() -> None:
    said: list[str] = []
    for made in (network(), network("dit")):
        x = field(128, 192)
        assert 1e-6 < departure(made, "64x96", x, T) < 0.5
        Tiler("64x96", said.append)(made, x, T)
    assert "normalisation over the field" in said[0] and "sees everything" in said[1]


def test_tiles_cross_the_date_line() -> None:
    made, x = network(norm="pixel"), field(32, 256)
    tiler = Tiler("32x64")
    with torch.no_grad():
        straight = tiler(made, x, T, wrap=True)
        rolled = tiler(made, x.roll(90, -1), T, wrap=True)
        cut_open = tiler(made, x, T, wrap=False)
    torch.testing.assert_close(rolled.roll(-90, -1), straight, rtol=1e-5, atol=1e-5)
    assert float((cut_open - straight)[..., :20].abs().max()) > 1e-3  # the circle is closed by the tiles, not by chance
    torch.testing.assert_close(cut_open[..., 64:192], straight[..., 64:192], rtol=1e-5, atol=1e-5)


def test_times_and_latents_go_with_their_samples() -> None:
    made, x = network(norm="pixel", latent_dim=4), field(64, 192, samples=3)
    t, z = torch.tensor([1.0, 400.0, 900.0]), torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = torch.cat([made(x[i : i + 1], t[i : i + 1], z=z[i : i + 1]) for i in range(3)])
        tiled = Tiler("64x64")(made, x, t, z=z)
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-5)


def test_auto_leaves_alone_what_fits_and_keeps_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x, said = network(norm="pixel"), field(256, 384, samples=2), []
    with torch.no_grad():
        whole = made(x, T)
        assert torch.equal(Tiler("auto", said.append)(made, x, T), whole) and not said
        assert torch.equal(Tiler("off")(made, x, T), whole)
        # room for one field but not for two: one after the other, uncut
        each = bytes_per_point(made, x[:1], T)
        monkeypatch.setattr(tiling, "TOGETHER", int(1.2 * each * 256 * 384))
        torch.testing.assert_close(Tiler("auto", said.append)(made, x, T), whole, rtol=1e-5, atol=1e-5)
        assert not said
        for limit in ("BUDGET", "TOGETHER"):
            monkeypatch.setattr(tiling, limit, int(0.4 * each * 256 * 384))
        sizes: list[int] = []
        handle = made.register_forward_pre_hook(lambda _, given: sizes.append(given[0][:, 0].numel()))
        tiled = Tiler("auto", said.append)(made, x, T)
        handle.remove()
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-5)
    assert len(said) == 1 and max(sizes) <= 0.4 * 256 * 384


def test_the_memory_of_a_network_is_what_lives_at_once() -> None:
    """Of a chain what it is given, and two links."""

    class Chain(nn.Module):
        stride = 4

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            for _ in range(8):
                x = x + 1
            return x

    assert bytes_per_point(Chain(), field(4, 4), T) == pytest.approx(3 * 4 * CHANNELS)


def test_weights_are_no_memory_of_a_point() -> None:
    """A linear layer looks at its weights through a view, which nothing is made for."""

    class Layer(nn.Module):
        stride = 4

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(CHANNELS, CHANNELS, bias=False)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.linear(x.movedim(1, -1))

    assert bytes_per_point(Layer(), field(4, 4), T) == pytest.approx(2 * 4 * CHANNELS)


def test_the_cheapest_tiles_are_strips_of_whole_circles_where_they_fit() -> None:
    rows, columns = cheapest((724, 1440), (57, 57), 4, True, 900_000)
    assert columns.whole and len(rows.starts) == 2
    rows, columns = cheapest((724, 1440), (57, 57), 4, True, 100_000)
    assert rows.size * columns.size <= 100_000


@pytest.mark.parametrize("size", [2, 3, 64])
def test_processes_share_tiles(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each evaluates its own, all get the sum; one without any adds nothing."""
    made, x, calls = network(norm="pixel"), field(64, 192), []
    parts: list[Tensor] = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda out, group: parts.append(out.clone()))
    made.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    tiler = Tiler("32x32")
    with torch.no_grad():
        tiler(made, x, T)  # what a network needs is found by trying it
        calls.clear()
        whole, alone = tiler(made, x, T), sum(calls)
        shares = []
        for place in range(size):
            calls.clear()
            tiler.crew = Crew(place, size, None)
            tiler(made, x, T)
            shares.append(sum(calls))
    assert max(shares) == max(1, -(-alone // size)) and (sum(shares) == alone or size > alone)
    torch.testing.assert_close(sum(parts[1:], parts[0]), whole, rtol=1e-5, atol=1e-5)
    assert size <= alone or not bool(parts[-1].any())


def test_networks_in_training_are_never_cut() -> None:
    made, x = network().train(), field(128, 128)
    assert torch.equal(Tiler("32x32")(made, x, T), made(x, T))


@pytest.mark.parametrize("setting", ["64", "0x64", "64x64+", "some", "64x64-3", ""])
def test_settings_that_are_not_understood(setting: str) -> None:
    with pytest.raises(FdsrError, match=r"tile .* is not understood; give auto, off, or rows and columns"):
        Tiler(setting)


# -- no seam ---------------------------------------------------------------------------------------------------------

ROWS, COLUMNS, SAMPLES, STEPS = 48, 256, 24, 6


def draw(apply: Callable[[Tensor, Tensor], Tensor], columns: int, seed: int) -> Tensor:
    """Samples (N, 2, H, columns) of a reverse process whose x̂_0 is the prior's plus a network's part."""
    process, rng = GaussianDiffusion(vp_schedule(100)), torch.Generator().manual_seed(seed)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        signal, sigma = process.levels(x_t, t)
        condition = torch.zeros_like(x_t[:, :1])
        return signal * x_t - 0.5 * sigma * apply(torch.cat([x_t, condition], 1), process.network_time(t))

    def noise() -> Tensor:
        return torch.randn(SAMPLES, 2, ROWS, columns, generator=rng)

    with torch.no_grad():
        return Ancestral(STEPS)(denoise, noise, process)


def drawn_apart(made: nn.Module) -> Tensor:
    """What must not be done: every tile with noise of its own, and the samples averaged over the overlap."""
    axis = cut(COLUMNS, 32, 0, made.stride, circle=True)
    out = torch.zeros(SAMPLES, 2, ROWS, COLUMNS)
    for i, start in enumerate(axis.starts):
        tile = draw(lambda x, t: made(x, t), axis.size, 100 + i)
        out.index_add_(-1, (start + torch.arange(axis.size)) % COLUMNS, tile * axis.weights[i])
    return out


def seams(x: Tensor, margin: int) -> tuple[float, float, float]:
    """Lines along the borders of tiles against those midway between them, 0 where they are alike: in variance, largest
    distance of the distributions of gradients across, and mean distance of the log power along."""
    axis = cut(COLUMNS, 32, margin, 2, circle=True)
    pitch, overlap = COLUMNS // len(axis.starts), axis.size - COLUMNS // len(axis.starts)
    border = torch.tensor([(start + overlap // 2) % COLUMNS for start in axis.starts])
    inside = (border + pitch // 2) % COLUMNS
    across = x - x.roll(1, -1)
    bins = torch.linspace(-4, 4, 41) * across.std()
    variances, shares, powers = [], [], []
    for columns in (border, inside):
        variances.append(x[..., columns].var())
        # the whole of the overlap would show a seam as well; at its middle it is strongest
        shares.append((across[..., columns].flatten()[:, None] < bins).float().mean(0))
        powers.append(torch.fft.rfft(x[..., columns], dim=-2).abs().square().mean((0, 1, 3))[1:].log())
    return (
        abs(float(variances[0] / variances[1]) - 1),
        float((shares[0] - shares[1]).abs().max()),
        abs(float((powers[0] - powers[1]).mean())),
    )


def test_tiles_leave_no_seam_where_independent_noise_leaves_one() -> None:
    """Lines along and between the tiles' borders hold alike fields, though the margin is far from covering the receptive field."""
    made = network()
    together = draw(lambda x, t: Tiler("48x32+4")(made, x, t, wrap=True), COLUMNS, 0)
    allowed = (0.06, 0.03, 0.06)
    assert all(found < most for found, most in zip(seams(together, 4), allowed, strict=True)), seams(together, 4)
    apart = drawn_apart(made)
    assert all(found > 2 * most for found, most in zip(seams(apart, 0), allowed, strict=True)), seams(apart, 0)
