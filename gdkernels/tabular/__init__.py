"""Models of raw tables: from records as people write them to figures on rows that training never saw.

`TabularPredictor` is the way in. Behind it is the policy of ``gdkernels train``: defaults, splits, the penalty and the
number of epochs, averages of several networks, tables larger than memory, results and evaluation. Reading a table and
preparing its columns belongs to `gdkernels.tables`; words on a terminal belong to the command line.
"""

from gdkernels.tabular.description import TableDescription
from gdkernels.tabular.evaluating.evaluation import Evaluation
from gdkernels.tabular.model.prediction import Prediction
from gdkernels.tabular.predictor import TabularPredictor
from gdkernels.tabular.results import TabularResult

__all__ = ["Evaluation", "Prediction", "TableDescription", "TabularPredictor", "TabularResult"]
