"""CUDA itself: cublasLt, a device with its stream and memory, and pinned memory of the host.

What belongs here knows nothing of networks.
"""
