"""The metrics of a pair store's grid and variables."""

from __future__ import annotations

from fdsr.data.field_spec import FieldSpec
from fdsr.metrics import FieldMetrics, Task, read_thresholds
from fdsr.metrics.registry import MetricNames


def spec_metrics(spec: FieldSpec, metrics: MetricNames | None, members: int | None = None) -> FieldMetrics:
    """FieldMetrics of a store's fields, see `spec_task`."""
    return FieldMetrics(spec_task(spec, members), metrics)


def spec_task(spec: FieldSpec, members: int | None = None) -> Task:
    """What is to be scored of a store's fields, events of variables whose attribute `thresholds` asks for them."""
    asking = {name: spec.attributes.get(name, {}).get("thresholds") for name in spec.high_channels}
    thresholds = {name: read_thresholds(text) for name, text in asking.items() if text is not None}
    return Task(spec.grid, spec.high_channels, spec.factor, spec.low_channels, members, thresholds=thresholds)
