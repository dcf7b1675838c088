"""A parser's many lines become one that names the setting and the reason."""

import warnings
from typing import Any

import jsonargparse
import lightning as L
import pytest

from fdsr.errors import parser_reason
from fdsr.modules import DownscalingModule

DATA, MODEL = "--data=fdsr.data.WeatherDataModule", "--model=fdsr.modules.FourierDDPMModule"


@pytest.fixture(scope="module")
def parser() -> Any:
    made = jsonargparse.ArgumentParser(exit_on_error=False)
    made.add_subclass_arguments(DownscalingModule, "model")
    made.add_subclass_arguments(L.LightningDataModule, "data")
    return made


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([MODEL, "--model.noise.exponant=3"], "model.noise: Option 'exponant' is not accepted"),
        (
            [MODEL, "--model.schedule=cubic"],
            "model.schedule: Expected a Literal['vp', 'linear', 'cosine']. Got value: cubic",
        ),
        ([MODEL, "--model.timesteps=many"], "model.timesteps: Expected a int. Got value: many"),
        ([MODEL, "--model.sampler=Pink"], "model.sampler: Expected a dot import path string: Pink"),
        (
            [MODEL, "--model.loss=SpectralWeightedLoss", "--model.loss.weight.w_max=x"],
            "model.loss.weight.w_max: Expected a float. Got value: x",
        ),
        ([DATA, "--data.crop=[1,2,3]"], "data.crop: Expected a tuple with 4 elements"),
        (["--modle=3"], "unrecognized arguments: --modle=3"),
    ],
)
def test_setting_and_reason(parser: Any, arguments: list[str], line: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(jsonargparse.ArgumentError) as caught:
            parser.parse_args(arguments)
    assert parser_reason(str(caught.value)).startswith(line)


def test_what_says_nothing_is_said_so() -> None:
    assert parser_reason("\n  \n") == "not understood"
