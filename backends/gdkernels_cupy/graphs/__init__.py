"""The engine that runs a program as CUDA graphs: cublasLt products with fused epilogues, and generated kernels between.

A program becomes a list of operations, which a NumPy interpreter can run too; a session captures it for given sizes.
"""
