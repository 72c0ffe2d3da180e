"""The process of a participant, and the end that asks it: one line of JSON for a question, one for the answer.

What belongs here starts processes and speaks with them. What a library does inside its process belongs to
`gdkernels.bench.participants`; in which order processes are asked belongs to `gdkernels.bench.measuring`.
"""
