"""Tables larger than memory: surveyed part by part, and prepared into files that training reads in windows.

Which part a record belongs to follows from its number, its moment or its group. Training on the files belongs to
`gdkernels.data.stored` and to `out_of_core`, which stands above this room.
"""
