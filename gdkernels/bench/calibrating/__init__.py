"""Making a calibration: small jobs are timed on every candidate in turn, and prices are fitted to the times.

Code here measures this machine for the automatic choice. `gdkernels.dispatch.calibration` reads and keeps a
calibration, and estimates with it.
"""
