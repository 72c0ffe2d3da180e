"""The processor: its features, a core for each thread, the threads themselves, and machine code made from LLVM IR.

What belongs here knows nothing of networks.
"""
