"""Data: `making` pair stores of any archive, `serving` them in batches, and `images` for the GAN study.

Names are imported when they are first used, so that what prepares data never loads what trains on them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdsr.data.field_spec import FieldSpec
    from fdsr.data.image_spec import ImageBatch, ImageSpec
    from fdsr.data.images.fashion_mnist import FashionMNISTDataModule
    from fdsr.data.making.prepare import PrepareConfig, prepare
    from fdsr.data.serving.datasets import WeatherBatch
    from fdsr.data.serving.store import PairStore
    from fdsr.data.serving.weather import WeatherDataModule
    from fdsr.data.values import ValueTransform

_HOMES = {
    "FashionMNISTDataModule": "images.fashion_mnist",
    "FieldSpec": "field_spec",
    "ImageBatch": "image_spec",
    "ImageSpec": "image_spec",
    "PairStore": "serving.store",
    "PrepareConfig": "making.prepare",
    "ValueTransform": "values",
    "WeatherBatch": "serving.datasets",
    "WeatherDataModule": "serving.weather",
    "prepare": "making.prepare",
}

__all__ = [
    "FashionMNISTDataModule", "FieldSpec", "ImageBatch", "ImageSpec", "PairStore", "PrepareConfig", "ValueTransform",
    "WeatherBatch", "WeatherDataModule", "prepare",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
