"""Fits that were stopped, and checkpoints that are made to tell something else."""

import pytest
from training import fit, trainer

from gdkernels.files import read_model, write_model


def told_in(folder):
    return read_model(max(folder.glob("step-*")))[1]


def rewrite(folder, **changed):
    """Change what the newest checkpoint tells."""
    path = max(folder.glob("step-*"))
    tensors, metadata = read_model(path)
    write_model(path, tensors, metadata | changed, overwrite=True)


def stopped(folder, backend, epochs=4, **settings):
    """Stop a fit of `epochs` in its third."""

    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(trainer(backend, **settings), folder, epochs=epochs, callbacks=[stop])
    return folder
