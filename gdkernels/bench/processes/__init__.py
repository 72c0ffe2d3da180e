"""The process of a participant, and the end that asks it: one line of JSON for a question, one for the answer.

Code here starts processes and speaks with them. The work of a library inside its process belongs
to `gdkernels.bench.participants`, and the order of the questions to `gdkernels.bench.measuring`.
"""
