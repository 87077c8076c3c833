"""Metrics (images -> scores): one file each; `measure` runs one and says why it could not."""

from cloakwork.metrics._measure import Measurement, measure, metric_instrument

__all__ = ["Measurement", "measure", "metric_instrument"]
