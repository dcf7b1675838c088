"""Callbacks: weight averaging, scores and pictures during training, test tables, predictions, run records."""

from fdsr.callbacks.compile import CompileCallback
from fdsr.callbacks.critic_probe import CriticProbe
from fdsr.callbacks.ema import EMACallback
from fdsr.callbacks.ensemble_scores import EnsembleCallback, SpectralErrorCallback
from fdsr.callbacks.fid import FIDCallback
from fdsr.callbacks.prediction_writer import PredictionWriter
from fdsr.callbacks.rates import Rates
from fdsr.callbacks.run_record import JSONLLogger, RunRecord
from fdsr.callbacks.sample_pictures import SamplePictures
from fdsr.callbacks.score_recorder import ScoreRecorder
from fdsr.callbacks.training_guard import TrainingGuard

__all__ = [
    "CompileCallback", "CriticProbe", "EMACallback", "EnsembleCallback", "FIDCallback", "JSONLLogger",
    "PredictionWriter", "Rates", "RunRecord", "SamplePictures", "ScoreRecorder", "SpectralErrorCallback", "TrainingGuard",
]  # fmt: skip
