"""Whether a compiled way does, where it runs, what the definition does: two steps on the user's rows, in float64.

What belongs here knows nothing of how a way computes: it runs it as a caller would. What it found is kept on disk.
"""
