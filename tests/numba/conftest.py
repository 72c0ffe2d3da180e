from amx import emulator, emulator_library  # noqa: F401  # fixtures
