"""Edges: circular convolution and padding to a multiple."""

import pytest
import torch

from fdsr.backbones.padding import Conv, crop, pad_to_multiple


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_wrapped_convolution_is_torch_circular_padding_along_columns(kernel_size: int) -> None:
    conv = Conv(2, 3, kernel_size).double()
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    n = kernel_size // 2
    closed = torch.nn.functional.pad(x, (n, n, 0, 0), mode="circular")
    expected = torch.nn.functional.conv2d(closed, conv.weight, conv.bias, padding=(n, 0))
    torch.testing.assert_close(conv(x, True), expected)


def test_wrapped_convolution_keeps_channels_last() -> None:
    x = torch.randn(2, 4, 6, 8).contiguous(memory_format=torch.channels_last)
    conv = Conv(4, 4).to(memory_format=torch.channels_last)
    assert conv(x, True).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (4, 8), (7, 9)])
@pytest.mark.parametrize("wrap", [True, False])
def test_padding_is_undone_by_crop(height: int, width: int, wrap: bool) -> None:
    x = torch.randn(1, 2, height, width)
    padded, left = pad_to_multiple(x, 4, wrap=wrap)
    assert padded.shape[-2] % 4 == padded.shape[-1] % 4 == 0
    assert torch.equal(crop(padded, height, width, left), x)


def test_padding_repeats_the_edge_or_goes_around() -> None:
    x = torch.arange(5.0).reshape(1, 1, 1, 5)
    assert pad_to_multiple(x, 4)[0][0, 0, 3].tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    around, left = pad_to_multiple(x, 4, wrap=True)
    assert left == 4
    assert around[0, 0, 0].tolist() == [(i - 4) % 5 for i in range(16)]


def test_a_fitting_field_is_left_alone() -> None:
    x = torch.randn(1, 1, 4, 8)
    assert pad_to_multiple(x, 4, wrap=True)[0] is x
