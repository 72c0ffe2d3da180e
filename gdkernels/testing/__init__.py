"""The conformance suite: what any backend has to do, ours and a third party's alike.

With a plug-in installed, one command runs it::

    GDKERNELS_BACKEND=mybackend python -m pytest --pyargs gdkernels.testing

`GDKERNELS_DEVICE` names a device other than the default one. What belongs here is run by the authors of backends; what
users run to see what is wrong with an installation belongs to `gdkernels.diagnostics`.
"""

import pytest

pytest.register_assert_rewrite("gdkernels.testing.conformance")

from gdkernels.testing.conformance import BackendConformance  # noqa: E402

__all__ = ["BackendConformance"]
