"""The processor: its features, a core for each thread, the threads themselves, and machine code made from LLVM IR.

Code here knows nothing of networks.
"""
