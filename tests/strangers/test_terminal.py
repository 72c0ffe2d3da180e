"""Names that strangers wrote never reach a terminal as what it would obey."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gdkernels.cli import main
from gdkernels.system.printable import Printable, one_line, printable

ROOT = Path(__file__).parents[2]
CLEAR, TITLE, RIGHT_TO_LEFT = "\x1b[2J", "\x1b]0;mine\x07", "\u202e"
COLUMN, LABEL = f"a{CLEAR}{RIGHT_TO_LEFT}", f"yes{TITLE}\x9b31m"
OBEYED = [chr(c) for c in (*range(9), *range(0x0B, 0x20), *range(0x7F, 0xA0))]
OBEYED += list("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_what_is_spelled_out():
    for character in OBEYED:
        assert character not in printable(f"a{character}b")
    assert printable(f"{CLEAR}{RIGHT_TO_LEFT}") == r"\x1b[2J\u202e"
    same = "größe 价格 שלום 👩‍👧 a\tb\n"
    assert printable(same) == same
    assert one_line("two\nlines\x1b") == r"two lines\x1b"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strange") / f"f{CLEAR}"
    folder.mkdir()
    rows = "\n".join(f"{k % 7},town {k % 3}{CLEAR},{LABEL if k % 2 else 'no'}" for k in range(60))
    path = folder / f"t{TITLE}.csv"
    path.write_text(f"{COLUMN},town{CLEAR},label{RIGHT_TO_LEFT}\n{rows}\n", encoding="utf-8")
    assert main(["train", str(path), "--target", f"label{RIGHT_TO_LEFT}", "--epochs", "2", "--hidden", "3",
                 "--backend", "numpy", "--out", str(folder / "m")]) == 0  # fmt: skip
    return path


def obeyed(text):
    return [character for character in OBEYED if character in text]


COMMANDS = {
    "describe": ("describe", "{t}", "--target", f"label{RIGHT_TO_LEFT}"),
    "train": ("train", "{t}", "--target", f"label{RIGHT_TO_LEFT}", "--epochs", "2", "--hidden", "3"),
    "inspect": ("inspect", "{m}"),
    "evaluate": ("evaluate", "{m}", "{t}"),
    "a column that is not there": ("train", "{t}", "--target", f"none{CLEAR}"),
    "a file that is not there": ("train", "{t}.none"),
    "an option": ("train", "{t}", f"--{CLEAR}"),
    "the traceback": ("train", "{t}.none", "--debug"),
    "json": ("inspect", "{m}", "--json"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_that_a_terminal_obeys_is_printed(table, capfd, name):
    places = {"t": table, "m": table.with_name("m")}
    main([argument.format(**places) for argument in COMMANDS[name]])
    out, err = capfd.readouterr()
    assert out + err
    assert not obeyed(out + err)


def test_warnings_of_the_library_neither(table, capfd, monkeypatch):
    from gdkernels.cli import inspect

    def warn(path):
        logging.getLogger("gdkernels").warning("%s is odd\nand so on", path)
        raise SystemExit(0)

    monkeypatch.setattr(inspect.TabularPredictor, "load", warn)
    main(["inspect", str(table.with_name("m"))])
    err = capfd.readouterr().err
    assert not obeyed(err)
    assert err.count("\n") == 1


def test_data_in_a_file_are_to_the_letter_and_on_a_terminal_spelled_out(table, capfd):
    arguments = ["predict", str(table.with_name("m")), str(table), "--keep", f"town{CLEAR}"]
    main(arguments)
    assert f"town 0{CLEAR}" in capfd.readouterr().out
    shown = on_terminal(arguments)
    assert r"town 0\x1b[2J" in shown
    assert not obeyed(shown.replace("\r", ""))


def on_terminal(arguments):
    """Return what the command shows on a terminal."""
    terminal, end = os.openpty()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    run = subprocess.Popen(
        [sys.executable, "-m", "gdkernels", *arguments], stdout=end, env=os.environ | {"PYTHONPATH": paths}
    )
    os.close(end)
    parts = []
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # the end, on Linux
            break
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    assert run.wait() == 0
    return b"".join(parts).decode()


def test_the_stream_is_in_all_else_the_stream(capsys):
    wrapped = Printable(sys.stdout)
    print("a\x1bb", file=wrapped)
    assert capsys.readouterr().out == "a\\x1bb\n"
    assert wrapped.isatty() is False
    assert wrapped.encoding == sys.stdout.encoding
