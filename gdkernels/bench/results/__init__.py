"""The results of ``gdkernels bench``: their dataclasses, and the file that holds them.

Code here knows the format of the file, and nothing of how results are measured or shown.
``gdkernels.bench.results.read`` reads a file; benchmarks/results/README.md describes it.
"""

from gdkernels.bench.results.file import read
from gdkernels.bench.results.model import BenchResults

__all__ = ["BenchResults", "read"]
