"""Data: pair stores and the modules that serve them."""

from fdsr.data.fashion_mnist import FashionMNISTDataModule
from fdsr.data.image_spec import ImageBatch, ImageSpec
from fdsr.data.prepare import PrepareConfig, prepare
from fdsr.data.spec import FieldSpec
from fdsr.data.store import PairStore
from fdsr.data.values import ValueTransform
from fdsr.data.weather import WeatherBatch, WeatherDataModule

__all__ = [
    "FashionMNISTDataModule",
    "FieldSpec",
    "ImageBatch",
    "ImageSpec",
    "PairStore",
    "PrepareConfig",
    "ValueTransform",
    "WeatherBatch",
    "WeatherDataModule",
    "prepare",
]
