"""A parser's many lines become one that names the setting and the reason."""

import warnings
from typing import Any

import jsonargparse
import lightning as L
import pytest

from fdsr.modules import DownscalingModule
from fdsr.parser_words import parser_reason

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
            "model.schedule: expected vp, linear or cosine, not 'cubic'",
        ),
        ([MODEL, "--model.timesteps=many"], "model.timesteps: expected integer, not 'many'"),
        ([MODEL, "--model.sampler=Pink"], "model.sampler: 'Pink' is neither a class nor a file"),
        (
            [MODEL, "--model.loss=SpectralWeightedLoss", "--model.loss.weight.w_max=x"],
            "model.loss.weight.w_max: expected number, not 'x'",
        ),
        (
            [DATA, "--data.crop=[1,2,3]"],
            "data.crop: expected [number, number, number, number] or null, not '[1, 2, 3]'",
        ),
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
