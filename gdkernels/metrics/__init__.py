"""Figures that tell how good predictions are, at once (`figures`) or part by part (`streaming`).

Code here takes targets and predictions as NumPy arrays and knows nothing of their source.
The losses that a network is trained for belong to `gdkernels.definition`.
"""

from gdkernels.metrics.figures import METRICS, Metric, accuracy, log_loss, mae, r2, resolve_metrics, rmse

__all__ = ["METRICS", "Metric", "accuracy", "log_loss", "mae", "r2", "resolve_metrics", "rmse"]
