"""Real data sets for a first run without any file: a raw table of our own, and two that come with scikit-learn."""

from pathlib import Path

import numpy as np

from gdkernels.errors import InputError
from gdkernels.system.libraries import lack_of
from gdkernels.tables.formats.text import read_text
from gdkernels.tables.table.table import UnreadTable

__all__ = ["BUILT_IN", "read_built_in"]

# name: (what is to be predicted, what it is)
BUILT_IN = {
    "penguins": ("Species", "344 penguins as they were recorded, with gaps, dates and remarks"),
    "digits": ("digit", "1,797 images of handwritten digits, 8 by 8 pixels"),
    "diabetes": ("progression", "442 patients: the progression of diabetes after a year"),
}


def read_built_in(name: str) -> UnreadTable:
    """Return a built-in data set.

    Raises
    ------
    InputError
        If it needs scikit-learn, which is not installed or broken; it says how to mend that.
    """
    target = BUILT_IN[name][0]
    if name == "penguins":
        (table,) = read_text(Path(__file__).parents[1] / "data" / "penguins.csv", records=1000)
        return UnreadTable(table.columns, name, (target,))
    try:
        from sklearn import datasets
    except Exception as error:  # a library that is broken raises anything
        lack = lack_of("sklearn", error, 'pip install "gdkernels[sklearn]"')
        raise InputError(f"the data set {name!r} comes with scikit-learn, {lack}") from None
    data = datasets.load_digits() if name == "digits" else datasets.load_diabetes()
    columns = dict(zip(map(str, data.feature_names), np.array(data.data, np.float64, order="F").T, strict=True))
    return UnreadTable(columns | {target: np.asarray(data.target, np.float64)}, name, (target,))
