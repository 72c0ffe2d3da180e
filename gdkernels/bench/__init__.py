"""Measuring: what is timed, and the proof that it was done."""
