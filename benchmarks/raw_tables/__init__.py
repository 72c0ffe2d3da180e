"""What ``gdkernels train`` reaches on raw tables by its defaults, beside scikit-learn's MLP set up by hand."""
