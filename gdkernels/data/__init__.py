"""The data that users pass, checked and put on a device: records, batches, and records that stay in files (`stored`).

Code here turns arrays of any library into arrays of a backend, and rejects data that do not fit, naming the row.
Named columns of a raw table belong to `gdkernels.tables`.
"""
