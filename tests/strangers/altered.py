"""Files of every kind that we read, altered at random: ``python altered.py KIND COUNT SEED`` reads COUNT of them.

What is read is either taken, which a change in the middle of numbers can be, or refused by an error of ours. Anything
else ends the process with a traceback: another exception, a crash, a hang, memory out of proportion to a file of a few
thousand bytes, something that is executed.
"""

import contextlib
import faulthandler
import gzip
import io
import json
import logging
import re
import resource
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from safetensors.numpy import save

import gdkernels as gd
from gdkernels.files import read_model, write_model
from gdkernels.tables import Preparation
from gdkernels.tables.formats import frames
from gdkernels.tabular import TabularPredictor

MOST_MEMORY = 256 << 20  # bytes beyond what there is before a file is read
MOST_SECONDS = 20  # for one file

OFTEN_WRONG = (b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"99999999", b'"[{,:1e9')

COLUMNS = {
    "size": [120.5, 80, None, 95, 1e-3] * 12,
    "town": ["Ames", "Ames", "Nevada", None, "Åbo"] * 12,
    "sold": ["2024-01-31", "2023-12-01", "2024-02-29", "2022-05-05", None] * 12,
    "price": [210.0, 150, 99, 140, 77] * 12,
}

ARRAY = np.arange(200.0).reshape(50, 4)
WEIGHTS = {
    "0.weight": np.ones((4, 3)),
    "0.bias": np.ones(4),
    "2.weight": np.ones((1, 4)),
    "2.bias": np.ones(1),
}


def text(delimiter=","):
    rows = zip(*([("" if v is None else str(v)) for v in values] for values in COLUMNS.values()), strict=True)
    return "\n".join([delimiter.join(COLUMNS), *(delimiter.join(row) for row in rows)]).encode()


def arrays(save):
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def frame(write):
    import polars

    buffer = io.BytesIO()
    getattr(polars.DataFrame(COLUMNS), write)(buffer)
    return buffer.getvalue()


def model(folder):
    preparation = Preparation.fit(COLUMNS, "price", task="regression")
    mlp = gd.MLP([len(preparation.features), 3, 1], seed=0, backend="numpy")
    mlp.extra = {"preparation": preparation.to_json()}
    mlp.save(folder / "m")
    return (folder / "m").read_bytes()


def checkpoint(folder):
    fit(folder / "c")
    return sorted((folder / "c").glob("step-*"))[0].read_bytes()


def zstd(data):
    try:
        from compression import zstd as library
    except ImportError:
        from backports import zstd as library
    return library.compress(data)


MADE = {
    "model": model,
    "model description": model,
    "checkpoint": checkpoint,
    "checkpoint description": checkpoint,
    "t.csv": lambda folder: text(),
    "t.tsv": lambda folder: text("\t"),
    "t.csv.gz": lambda folder: gzip.compress(text(), mtime=0),
    "t.csv.zst": lambda folder: zstd(text()),
    "t.parquet": lambda folder: frame("write_parquet"),
    "t.arrow": lambda folder: frame("write_ipc"),
    "t.npy": lambda folder: arrays(lambda to: np.save(to, ARRAY)),
    "t.npz": lambda folder: arrays(lambda to: np.savez_compressed(to, X=ARRAY, Y=ARRAY[:, 0])),
    "weights": lambda folder: save(WEIGHTS),
}


def read(kind, path):
    if kind.startswith("model"):
        TabularPredictor.load(path, backend="numpy").predict(gd.tables.Table.of(COLUMNS))
    elif kind.startswith("checkpoint"):
        fit(path.parent, resume=True)
    elif kind == "weights":
        gd.from_torch(path)
    else:
        table = gd.tables.read(path)
        Preparation.fit(table, table.names[-1], task="regression").transform(table)


def fit(folder, **more):
    mlp = gd.MLP([3, 4, 1], seed=0, backend="numpy")
    x = np.ones((20, 3), np.float32)
    trainer = gd.Trainer(mlp, batch_size=4)
    trainer.fit(x, x[:, :1], epochs=2, checkpoint=folder, every="2 steps", patience=1, retries=1, **more)


def altered_description(data, folder, draw):
    """Return a file whose digests are right, and whose description is altered: what is behind them must hold too."""
    (folder / "original").write_bytes(data)
    tensors, metadata = read_model(folder / "original")
    while True:
        changed = alter(json.dumps(metadata).encode(), draw) if draw.random() < 0.5 else swapped(metadata, draw)
        with contextlib.suppress(ValueError, gd.InputError):
            write_model(folder / "original", tensors, json.loads(changed), overwrite=True)
            return (folder / "original").read_bytes()


def swapped(metadata, draw):
    """Return JSON in which one value, however deep, is another."""
    others = [None, -1, 0, 1e300, "", "nan", [], {}, True, [[[]]], 2**70]
    copy = json.loads(json.dumps(metadata))
    place = copy
    while True:
        key = draw.choice(sorted(place)) if isinstance(place, dict) else int(draw.integers(len(place)))
        inner = place[key]
        if isinstance(inner, (dict, list)) and inner and draw.random() < 0.9:
            place = inner
            continue
        place[key] = others[draw.integers(len(others))]
        return json.dumps(copy)


def alter(data, draw):
    """Return `data` with a few changes, half of the time near its beginning or its end, where headers are."""
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 5))):
        if not changed:
            break
        edge = min(len(changed), 200)
        at = int(draw.integers(edge) if draw.random() < 0.5 else draw.integers(len(changed)))
        if draw.random() < 0.2:
            at = max(0, len(changed) - 1 - at)
        what = draw.integers(6)
        if what == 0:
            changed[at : at + 1] = bytes([draw.integers(256)])
        elif what == 1:
            changed[at : at + 1] = bytes([changed[at] ^ (1 << int(draw.integers(8)))]) if at < len(changed) else b"\0"
        elif what == 2:
            del changed[at : at + int(draw.integers(1, 30))]
        elif what == 3:
            changed[at:at] = bytes(draw.integers(256, size=int(draw.integers(1, 9)), dtype=np.uint8))
        elif what == 4:
            changed[at : at + 8] = OFTEN_WRONG[draw.integers(len(OFTEN_WRONG))]
        else:
            del changed[at:]
    return bytes(changed)


def refuse(event, details):
    """Nothing that a file can say unpickles, runs a program but that in which polars reads, or asks the network."""
    if event == "subprocess.Popen" and details[1] == frames.command():
        return
    if event in {"pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "socket.connect"}:
        raise AssertionError(f"{event} {details}")


def judged(kind, path):
    """Read a file; return whether it was refused, and raise what no file may lead to."""
    try:
        read(kind, path)
    except gd.GdkernelsError as error:
        if "\n" in str(error):
            raise RuntimeError(f"more than a line: {error}") from error
        cause = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                raise RuntimeError(f"more memory than such a file can need: {error}") from error
            cause = cause.__context__
        return True
    return False


def limit_memory():
    """Let memory be refused that goes beyond what there is now by more than MOST_MEMORY."""
    data = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (1024 * int(data[1]) + MOST_MEMORY, hard))


def place_of(kind, folder):
    """Return the path at which a file of this kind is read, in a folder of its own."""
    (folder / "altered").mkdir()
    return folder / "altered" / ("step-000000000002.safetensors" if kind.startswith("checkpoint") else kind)


def put(path, content):
    """Write a file where it is read, alone: a fit that went on from one has written others."""
    for other in path.parent.iterdir():
        other.unlink()
    path.write_bytes(content)


def main(kind, count, seed):
    draw = np.random.default_rng([seed, list(MADE).index(kind)])
    warnings.simplefilter("error")
    logging.disable()
    sys.addaudithook(refuse)
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        original = MADE[kind](folder)
        path = place_of(kind, folder)
        put(path, original)
        read(kind, path)  # the original is sound, or nothing would be tested
        refused = 0
        for k in range(count):
            limit_memory()
            faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
            changed = altered_description(original, folder, draw) if "description" in kind else alter(original, draw)
            put(path, changed)
            try:
                refused += judged(kind, path)
            except BaseException:
                print(f"file {k} of {kind}, seed {seed}", file=sys.stderr)
                raise
        faulthandler.cancel_dump_traceback_later()
        put(path, original)
        read(kind, path)  # they left nothing behind that would refuse it
    print(refused)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
