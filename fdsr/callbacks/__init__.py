"""Callbacks: weight averaging, test tables, predictions, run records."""

from fdsr.callbacks.ema import EMACallback
from fdsr.callbacks.prediction_writer import PredictionWriter
from fdsr.callbacks.run_record import JSONLLogger, RunRecord
from fdsr.callbacks.score_recorder import ScoreRecorder

__all__ = ["EMACallback", "JSONLLogger", "PredictionWriter", "RunRecord", "ScoreRecorder"]
