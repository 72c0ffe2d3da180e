"""The conformance suite: the tests that every backend has to pass, ours and a third party's alike.

With a plug-in installed, one command runs it::

    GDKERNELS_BACKEND=mybackend python -m pytest --pyargs gdkernels.testing

`GDKERNELS_DEVICE` names a device other than the default one. Authors of backends run this suite. The checks
that users run on their installation belong to `gdkernels.diagnostics`.
"""

import pytest

pytest.register_assert_rewrite("gdkernels.testing.conformance")

from gdkernels.testing.conformance import BackendConformance  # noqa: E402

__all__ = ["BackendConformance"]
