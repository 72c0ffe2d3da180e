"""The self-check: a compiled way does two steps on your rows, and the definition does the same in float64.

Code here knows nothing of how a way computes, and runs it as a caller would. It keeps its findings on disk.
"""
