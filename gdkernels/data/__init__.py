"""What users pass, on a device and checked: records, batches, and records that stay in files (`stored`).

Arrays of any library become arrays of a backend here, and what does not fit a network is refused with its row.
Named columns of a raw table belong to `gdkernels.tables`.
"""
