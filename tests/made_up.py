"""Small tables with a known law."""

import numpy as np


def made_up(classes=False, records=240):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(records, 3)) * [1, 50, 1e-3] + [0, 100, 0]
    z = x @ [1, 0.02, 1e3]
    return x, (np.digitize(z, [1.5, 2.5]) * 10.0 if classes else 1000 + 100 * z)


def write_csv(path, x, y):
    np.savetxt(path, np.column_stack([x, y]), fmt="%.17g", delimiter=",", header="a,b,c,y", comments="")
    return path
