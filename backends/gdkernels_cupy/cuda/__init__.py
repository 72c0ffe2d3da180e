"""CUDA itself: cublasLt, a device with its stream and memory, and pinned memory of the host.

Code here knows nothing of networks.
"""
