"""The participants of a comparison: a participant, its task, and one adapter for each library.

Code here runs inside the process of a participant, and is the same for `gdkernels bench` and for the studies in
`benchmarks`. `gdkernels.bench.processes` starts the processes and asks them.
"""
