"""The reader of instruction streams: a small interpreter that calls kernels at their addresses.

`instructions` names every instruction and its fields, for the writer and the reader alike.
"""
