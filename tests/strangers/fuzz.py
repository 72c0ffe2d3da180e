"""Coverage-guided fuzzing of what reads files: ``python fuzz.py KIND [OPTIONS]``, the options being libFuzzer's.

``python fuzz.py t.csv -max_total_time=600`` goes on for ten minutes. The seeds are made, as for ``altered.py``, whose
verdict is the same: an error of ours, or the file is taken. What neither is stops it, and is left in a file beside.
Needs ``pip install "gdkernels[fuzz]"``.
"""

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gdkernels"]):
    import altered

    from gdkernels.network import saving  # noqa: F401  # imported later, they would not be instrumented

import numpy as np

from gdkernels.files import read_model, write_model

# A hang, and memory out of proportion, end it as well.
LIMITS = ("-timeout=20", "-rss_limit_mb=1024", "-max_len=20000", "-verbosity=0", "-print_final_stats=1")


def described(folder, sound):
    """Return what turns JSON text into a file like `sound` that has this description and right digests."""
    (folder / "sound").write_bytes(sound)
    tensors, metadata = read_model(folder / "sound")

    def build(text):
        try:
            write_model(folder / "built", tensors, json.loads(text), overwrite=True)
        except (ValueError, RecursionError):  # no JSON: nothing to read
            return None
        return (folder / "built").read_bytes()

    return build, json.dumps(metadata).encode()


def mutate(data, most, seed):
    """Change JSON half of the time as such, and otherwise as bytes."""
    draw = np.random.default_rng(seed)
    if draw.random() < 0.5:
        try:
            return altered.swapped(json.loads(data), draw).encode()[:most]
        except (ValueError, TypeError, RecursionError):
            pass
    return atheris.Mutate(data, most)


def main(kind, *options):
    warnings.simplefilter("error")
    logging.disable()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound = altered.MADE[kind](folder)
        path = altered.place_of(kind, folder)
        build, seed = described(folder, sound) if "description" in kind else (bytes, sound)
        (folder / "seeds").mkdir()
        (folder / "seeds" / "sound").write_bytes(seed)
        sys.addaudithook(altered.refuse)

        def one(data):
            content = build(data)
            if content is not None:
                altered.put(path, content)
                altered.judged(kind, path)

        more = {"custom_mutator": mutate} if "description" in kind else {}
        atheris.Setup([sys.argv[0], *LIMITS, *options, str(folder / "seeds")], one, **more)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
