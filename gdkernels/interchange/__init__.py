"""Networks of other software: ONNX models out, weights of scikit-learn and PyTorch in.

What belongs here translates between their formats and a network's structure and parameters.
gdkernels' own formats belong to `gdkernels.files`.
"""
