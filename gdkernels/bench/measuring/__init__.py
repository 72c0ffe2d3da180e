"""A whole benchmark: from the networks that a user names to rows, ceilings, first calls and times to a target.

Code here decides what to measure, in which order and for how long. `gdkernels.bench.sampling` takes the samples, and
`gdkernels.bench.participants` holds the work of a participant.
"""
