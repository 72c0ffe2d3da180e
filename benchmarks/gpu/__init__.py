"""The study for a GPU: conformance, first checks, costs, and training side by side, in parts that go on.

What belongs here needs a GPU or `gdkernels_cupy`. The adapters of PyTorch and JAX are those of `gdkernels.bench`. A
checkout is enough: gdkernels need not be installed.
"""

from benchmarks import checkout

checkout.make_importable()
