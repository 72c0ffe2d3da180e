"""Which problems the suites go through."""


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="two networks in float32, within two minutes")
