"""``python -m gdkernels`` is the command ``gdkernels``."""

from gdkernels.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
