"""Eight fits one by one, and then at once: ``python parallel_fits.py BACKEND`` compares their bits."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import gdkernels_numpy.threads
import joblib
import numpy as np

import gdkernels as gd
from gdkernels.dispatch import binding

FITS = 8
THREADS = 3  # of each fit: with eight fits, more than most machines have cores
WIDTHS = ((5, 12, 1), (300, 400, 5))


def limits():
    """Have the wide ones count as large, whose products run on several threads, here as in each process."""
    gdkernels_numpy.threads.SMALL = 10_000_000
    binding.plan_choices = lambda backend, *_: (
        {"threads": THREADS, "pieces": THREADS} if backend.name == "numba" else {}
    )


def fitted(backend, k):
    """Return all bits of a fit with validation: every other one is wide."""
    limits()
    widths = WIDTHS[k % 2]
    draw = np.random.default_rng(k)
    x, y = draw.standard_normal((600, widths[0]), np.float32), draw.standard_normal((600, widths[-1]), np.float32)
    mlp = gd.MLP(widths, seed=k, backend=backend)
    history = mlp.fit(x, y, epochs=3, batch_size=256, validation=0.3)
    return [history.loss, history.validation_loss, [a.tobytes() for layer in mlp.parameters for a in layer]]


def main(backend):
    job, numbers = partial(fitted, backend), range(FITS)
    alone = [job(k) for k in numbers]
    with ThreadPoolExecutor(FITS) as pool:
        assert list(pool.map(job, numbers)) == alone, "threads"
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
            assert list(pool.map(job, numbers)) == alone, method
    for prefer, count in (("processes", 2), ("threads", 4)):
        with joblib.Parallel(n_jobs=count, prefer=prefer) as parallel:
            assert parallel(joblib.delayed(job)(k) for k in numbers) == alone, f"joblib, {prefer}"


if __name__ == "__main__":
    main(sys.argv[1])
