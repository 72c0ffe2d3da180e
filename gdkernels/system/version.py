"""The version of gdkernels, which files name: written here and in pyproject.toml; a test compares the two."""

__all__ = ["__version__"]

__version__ = "0.1.0"
