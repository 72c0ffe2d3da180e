"""Compare the bits that two checkouts train to: ``python -m benchmarks.same_bits BEFORE AFTER``.

BEFORE and AFTER are folders with a checkout each. Every one of `settings.SETTINGS` is trained with both, in processes
of their own with the same interpreter and the same libraries. Compared are the SHA-256 of parameters, of the figures of
the history, and of predictions. A line for each setting says "same", or what differs and by how much, and the exit code
is 1 if anything does. Use it before and after a change that moves code and must leave results alone.

    git worktree add ../before main
    python -m benchmarks.same_bits ../before .
    python -m benchmarks.same_bits ../before . --only numba --only lbfgs

It takes about two minutes on two cores. `trainings` run inside a checkout, started by `worker`, and use public names
alone, so that they work however the modules are arranged. Equal bits need equal plans: a plan depends on the machine's
free memory only where that is scarce, and calibrations of this machine are not looked at.
"""
