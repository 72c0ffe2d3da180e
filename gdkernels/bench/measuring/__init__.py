"""A whole benchmark: from the networks that a user names to rows, ceilings, first calls and times to a target.

What belongs here decides what is measured, in which order and for how long. How a sample is taken belongs to
`gdkernels.bench.sampling`, what a participant does to `gdkernels.bench.participants`.
"""
