"""The tools that compiled backends share: from a traced program to a scheduled task of steps, loops and buffers.

A backend that compiles starts here. Nothing in this room knows a processor or a kernel language.
Tracing itself belongs to `gdkernels.graph`, and code generation to each backend.
"""
