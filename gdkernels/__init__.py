"""Train multilayer perceptrons by gradient descent, fast, on whatever device is there."""
