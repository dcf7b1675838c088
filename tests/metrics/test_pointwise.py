import numpy as np
import pytest
import torch
from synthetic import latitude_weights

from fdsr.errors import FdsrError
from fdsr.metrics import MAE, RMSE, Bias

from .fields import sample, weights


def test_against_plain_numpy() -> None:
    p, y = sample()
    w = weights().numpy()[:, None] * np.ones(36)
    error = p.double().numpy().mean(1) - y.double().numpy()

    def mean(x: np.ndarray) -> np.ndarray:
        return np.array([np.average(x[:, c], weights=np.broadcast_to(w, x[:, c].shape)) for c in range(2)])

    for metric, expected in (
        (RMSE(weights(), 2), np.sqrt(mean(error**2))),
        (MAE(weights(), 2), mean(np.abs(error))),
        (Bias(weights(), 2), mean(error)),
    ):
        metric.update(p, y)
        np.testing.assert_allclose(metric.compute().numpy(), expected, rtol=1e-12)


def test_rmse_is_the_root_of_the_pooled_mean_square() -> None:
    # errors of 3 at one time and 4 at the other: the mean of the roots would be 3.5
    p = torch.tensor([3.0, 4.0])[:, None, None, None, None].expand(2, 1, 1, 24, 36)
    metric = RMSE(weights())
    for b in range(2):
        metric.update(p[b : b + 1], torch.zeros(1, 1, 24, 36))
    assert metric.compute().item() == pytest.approx(np.sqrt(12.5), rel=1e-12)


def test_area_weights_of_a_grid_with_poles() -> None:
    w = latitude_weights(np.linspace(90, -90, 19))
    assert w.sum() == pytest.approx(2.0, rel=1e-14)  # the whole sphere: sin 90° − sin(−90°)
    assert w[0] == pytest.approx(1 - np.sin(np.deg2rad(85.0)), rel=1e-12)  # a cap, not the zero of cos φ
    # an error on the polar row only
    p = torch.zeros(1, 1, 1, 19, 36)
    p[..., 0, :] = 1.0
    metric = MAE(torch.from_numpy(w))
    metric.update(p, torch.zeros(1, 1, 19, 36))
    assert metric.compute().item() == pytest.approx(w[0] / 2.0, rel=1e-12)


def test_full_weights_equal_row_weights() -> None:
    p, y = sample()
    rows, cells = RMSE(weights(), 2), RMSE(weights()[:, None].expand(24, 36), 2)
    for metric in (rows, cells):
        metric.update(p, y)
    torch.testing.assert_close(rows.compute(), cells.compute(), rtol=1e-13, atol=0)


def test_precision_survives_casting_and_autocast() -> None:
    p, y = sample()
    reference, cast = RMSE(weights(), 2), RMSE(weights(), 2)
    reference.update(p, y)
    holder = torch.nn.ModuleDict({"metric": cast}).to(torch.bfloat16).half()
    with torch.autocast("cpu", torch.bfloat16):
        cast.update(p, y)
    assert cast.total.dtype == cast.weights.dtype == torch.float64
    torch.testing.assert_close(cast.compute(), reference.compute(), rtol=0, atol=0)
    assert not holder.state_dict()


def test_reset_in_inference_mode_then_update_outside() -> None:
    p, y = sample()
    metric = RMSE(weights(), 2)
    with torch.inference_mode():
        metric.update(p, y)
        metric.reset()
    metric.update(p, y)
    assert torch.isfinite(metric.compute()).all()


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ((2, 2, 24, 36), (2, 2, 24, 36), "takes a prediction"),
        ((2, 5, 2, 24, 36), (2, 2, 24, 35), "do not match"),
        ((2, 5, 3, 24, 36), (2, 3, 24, 36), "built for 2 variables"),
        ((2, 5, 2, 23, 36), (2, 2, 23, 36), "weights of"),
    ],
)
def test_shape_errors(prediction: tuple[int, ...], truth: tuple[int, ...], message: str) -> None:
    with pytest.raises(FdsrError, match=message):
        RMSE(weights(), 2).update(torch.zeros(prediction), torch.zeros(truth))
