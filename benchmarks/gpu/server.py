"""The process of a participant on a GPU: ``python -m benchmarks.gpu.server PARTICIPANT THREADS``."""

from benchmarks.gpu.participants import gpu_adapter_of
from gdkernels.bench.processes.server import serve

if __name__ == "__main__":
    serve(gpu_adapter_of)
