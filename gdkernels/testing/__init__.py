"""The conformance suite: the tests that every backend has to pass, ours and a third party's alike.

With a plug-in installed, one command runs it::

    GDKERNELS_BACKEND=mybackend python -m pytest --pyargs gdkernels.testing

`GDKERNELS_DEVICE` names a device other than the default one. Authors of backends run this suite. The checks
that users run on their installation belong to `gdkernels.diagnostics`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdkernels.testing.conformance import BackendConformance

__all__ = ["BackendConformance"]


def __getattr__(name: str) -> Any:
    """Load the suite for backends, which needs pytest, where it is asked for: that for groups does not."""
    if name != "BackendConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    pytest.register_assert_rewrite("gdkernels.testing.conformance")
    from gdkernels.testing.conformance import BackendConformance

    return BackendConformance
