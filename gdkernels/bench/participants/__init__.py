"""Who takes part in a comparison, and with what: the participant, its task, and one adapter for each library.

What belongs here runs inside the process of a participant, and is the same for `gdkernels bench` and for the studies in
`benchmarks`. How processes are started and asked belongs to `gdkernels.bench.processes`.
"""
