"""One fit of `TabularPredictor`, in a process of its own: ``python ours.py FOLDER``; the checkout is PYTHONPATH's.

FOLDER holds train.csv, test.csv and fit.json, the keywords; the process writes predictions.npy, with the classes in
classes.json, and seconds.json. It imports only what every version has.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

import gdkernels as gd


def main(folder: Path) -> None:
    """Fit, predict, and write what came out."""
    keywords = json.loads((folder / "fit.json").read_text())
    began, wall = time.process_time(), time.perf_counter()
    predictor = gd.TabularPredictor(**keywords).fit(str(folder / "train.csv"))
    seconds = {"cpu": time.process_time() - began, "wall": time.perf_counter() - wall}
    classes = predictor.preparation_.classes
    predict = predictor.predict if classes is None else predictor.predict_proba
    np.save(folder / "predictions.npy", np.asarray(predict(str(folder / "test.csv"))))
    (folder / "classes.json").write_text(json.dumps(None if classes is None else [str(c) for c in classes.tolist()]))
    (folder / "seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
