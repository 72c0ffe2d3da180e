"""The kernels: products, elementwise loops, packing, and the operands of bfloat16, as LLVM IR.

A kernel works on matrices in panels at given addresses. The bytecode decides when it runs.
"""
