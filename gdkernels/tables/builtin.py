"""Real data sets that come with scikit-learn, for a first run without any file."""

import numpy as np

from gdkernels.errors import InputError
from gdkernels.tables.table import Table

__all__ = ["BUILT_IN", "read_built_in"]

# name: (what is to be predicted, what it is)
BUILT_IN = {
    "digits": ("digit", "1,797 images of handwritten digits, 8 by 8 pixels"),
    "diabetes": ("progression", "442 patients: the progression of diabetes after a year"),
}


def read_built_in(name: str) -> Table:
    """Return a built-in data set.

    Raises
    ------
    InputError
        Where scikit-learn is not installed; it says how to install it.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise InputError(
            f"the data set {name!r} comes with scikit-learn, which is not installed: "
            'run pip install "gdkernels[sklearn]"'
        ) from None
    data = datasets.load_digits() if name == "digits" else datasets.load_diabetes()
    columns = dict(zip(map(str, data.feature_names), np.array(data.data, np.float64, order="F").T, strict=True))
    target = BUILT_IN[name][0]
    return Table(columns | {target: np.asarray(data.target, np.float64)}, name, (target,))
