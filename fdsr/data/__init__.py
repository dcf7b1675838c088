"""Data: pair stores and the modules that serve them."""

from fdsr.data.prepare import PrepareConfig, prepare
from fdsr.data.spec import FieldSpec
from fdsr.data.store import PairStore
from fdsr.data.values import ValueTransform
from fdsr.data.weather import WeatherBatch, WeatherDataModule

__all__ = ["FieldSpec", "PairStore", "PrepareConfig", "ValueTransform", "WeatherBatch", "WeatherDataModule", "prepare"]
