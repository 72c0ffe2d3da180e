"""Model files come back as they were written, or are refused in one line that says why."""

import errno
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gdkernels.errors import FileError, InputError
from gdkernels.files import read_model, write_model

TENSORS = {
    "W0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b0": np.array([0.5, -0.5, np.pi], dtype=np.float32),
    "W1": np.linspace(0, 1, 3).reshape(3, 1),
    "step": np.array(7, dtype=np.int64),
    "nothing": np.zeros((0, 3), dtype=np.float32),
}
METADATA = {"sizes": [2, 3, 1], "activation": "relu", "rate": 0.1, "deep": {"names": ["ä", 'q"'], "none": None}}


@pytest.fixture
def path(tmp_path):
    write_model(tmp_path / "m.safetensors", TENSORS, METADATA)
    return tmp_path / "m.safetensors"


def refused(path, pattern):
    with pytest.raises(FileError, match=pattern) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def same(tensors):
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert tensor.shape == TENSORS[name].shape
        assert tensor.tobytes() == TENSORS[name].tobytes()


def split(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header, data):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def with_content(path, **changes):
    """Change fields of the metadata key, leaving all else as it was."""
    header, data = split(path.read_bytes())
    content = json.loads(header["__metadata__"]["gdkernels"]) | changes
    header["__metadata__"]["gdkernels"] = json.dumps(content)
    path.write_bytes(join(header, data))


def test_comes_back(path):
    tensors, metadata = read_model(path)
    same(tensors)
    assert metadata == METADATA


def test_any_safetensors_reader_opens_it(path):
    same(load_file(path))
    with safe_open(path, framework="numpy") as file:
        content = json.loads(file.metadata()["gdkernels"])
        assert list(file.metadata()) == ["gdkernels"]
    assert content["version"] == 1
    assert content["metadata"] == METADATA
    assert content["sha256"] == hashlib.sha256(split(path.read_bytes())[1]).hexdigest()


def test_the_same_model_is_the_same_bytes(path, tmp_path):
    write_model(tmp_path / "again", TENSORS, METADATA)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3).T, np.arange(6, dtype=">f8"), np.arange(9.0)[::2]])
def test_memory_layout_does_not_matter(tmp_path, array):
    write_model(tmp_path / "m", {"a": array}, {})
    np.testing.assert_array_equal(read_model(tmp_path / "m")[0]["a"], array)


def test_no_tensors_and_no_metadata(tmp_path):
    write_model(tmp_path / "m", {}, {})
    assert read_model(tmp_path / "m") == ({}, {})


def test_keys_that_are_not_text_become_text_as_in_json(tmp_path):
    write_model(tmp_path / "m", {}, {"classes": {10: "a", 9: "b"}})
    assert read_model(tmp_path / "m")[1] == {"classes": {"10": "a", "9": "b"}}


def test_an_existing_file_is_kept_unless_told(path):
    before = path.read_bytes()
    with pytest.raises(FileError, match="exists already"):
        write_model(path, {}, {})
    assert path.read_bytes() == before
    write_model(path, {}, {}, overwrite=True)
    assert read_model(path) == ({}, {})


@pytest.mark.parametrize("value", [object(), float("nan"), float("inf"), {1, 2}, np.float32(1)])
def test_what_json_cannot_hold_is_refused_before_writing(tmp_path, value):
    with pytest.raises(InputError, match="JSON"):
        write_model(tmp_path / "m", {}, {"value": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [object, "U3", "M8[s]", complex])
def test_other_dtypes_are_refused_before_writing(tmp_path, dtype):
    with pytest.raises(InputError, match="tensor 'a' of dtype"):
        write_model(tmp_path / "m", {"a": np.zeros(2, dtype)}, {})
    assert list(tmp_path.iterdir()) == []


def test_more_than_a_header_may_hold_is_refused_before_writing(tmp_path, monkeypatch):
    monkeypatch.setattr("gdkernels.files.model_file._LARGEST_HEADER", 1000)
    with pytest.raises(InputError, match=r"the metadata of .* are 1,\d+ bytes, and the format allows 1,000"):
        write_model(tmp_path / "m", {}, {"long": "x" * 1000})
    assert not list(tmp_path.iterdir())


def test_every_truncation_is_refused(path):
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refused(path, "cut short" if length else "empty")


def test_something_appended_is_refused(path):
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, "something appended")


def test_no_altered_byte_goes_unnoticed(path):
    data = path.read_bytes()
    for position in range(len(data)):
        for flip in (0x01, 0x20, 0x80):
            path.write_bytes(data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :])
            try:
                tensors, metadata = read_model(path)
            except FileError as error:
                assert "\n" not in str(error)  # noqa: PT017
            else:  # white space, or the same text escaped in another way
                same(tensors)
                assert metadata == METADATA


@settings(max_examples=200)
@given(data=st.binary(max_size=200), header=st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, header):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(len(data).to_bytes(8, "little") + b"{" + data if header else data)
    with pytest.raises(FileError):
        read_model(path)


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("data_offsets"), inner),
    )
)
def test_any_header_is_refused(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any-header"
    path.write_bytes(join({"W0": value, "__metadata__": value}, b"\0" * 8))
    with pytest.raises(FileError):
        read_model(path)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"W0": 1}),
        b"PK\x03\x04 a zip file, as NPZ is",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}",
        b"a,b,c\n1,2,3\n",
        (2**62).to_bytes(8, "little") + b"{}",
    ],
)
def test_other_formats_are_refused_and_never_unpickled(tmp_path, content, monkeypatch):
    monkeypatch.setattr(pickle, "loads", None)
    (tmp_path / "m").write_bytes(content)
    refused(tmp_path / "m", "not a gdkernels model file")


def test_a_deep_header_is_refused(tmp_path):
    text = b'{"a":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"
    (tmp_path / "m").write_bytes(len(text).to_bytes(8, "little") + text)
    refused(tmp_path / "m", "not a gdkernels model file")


def test_a_safetensors_file_of_something_else(tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "m")
    refused(tmp_path / "m", "something else, without the metadata 'gdkernels'")


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_another_version_says_how_to_upgrade(path, version):
    with_content(path, version=version)
    refused(path, r"format version is .*`pip install --upgrade gdkernels`")


def test_a_changed_setting_is_noticed(path):
    with_content(path, metadata=METADATA | {"activation": "tanh"})
    refused(path, "description was altered")


def test_a_changed_shape_is_noticed(path):
    header, data = split(path.read_bytes())
    header["W0"]["shape"] = [3, 2]
    path.write_bytes(join(header, data))
    refused(path, "description was altered")


def test_a_changed_tensor_is_noticed(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused(path, "tensors were altered")


@pytest.mark.parametrize(
    ("error", "pattern"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied"),
        (MemoryError(), "does not fit into memory"),
    ],
)
def test_what_cannot_be_read_is_refused(path, monkeypatch, error, pattern):
    def fail(self, *_, **__):
        raise error

    monkeypatch.setattr(Path, "open", fail)
    refused(path, pattern)


def test_missing_files_and_folders(tmp_path):
    refused(tmp_path / "m", "no such file")
    refused(tmp_path, "not a file but a folder")
