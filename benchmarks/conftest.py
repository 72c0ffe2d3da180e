"""The problems that the suites go through."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="two networks in float32, within two minutes")
