"""What tests of tables ask of a refusal: an error of one line."""

import pytest

from gdkernels.errors import InputError
from gdkernels.tables import read


def refused(path, pattern, error=InputError):
    """Assert that a table is refused in one line that is short enough to be read."""
    with pytest.raises(error, match=pattern) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
