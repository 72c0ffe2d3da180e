"""Figures that tell how good predictions are, at once (`figures`) or part by part (`streaming`).

What belongs here takes targets and predictions as NumPy arrays and knows nothing of who made them.
What a network is trained for is a loss, and belongs to `gdkernels.definition`.
"""

from gdkernels.metrics.figures import METRICS, Metric, accuracy, log_loss, mae, r2, resolve_metrics, rmse

__all__ = ["METRICS", "Metric", "accuracy", "log_loss", "mae", "r2", "resolve_metrics", "rmse"]
