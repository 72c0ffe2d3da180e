"""Calibrations kept and distrusted."""

import os

import pytest
from made_prices import VERSIONS, made

from gdkernels.cli import main
from gdkernels.dispatch import calibration
from gdkernels.dispatch.calibration import current, keep
from gdkernels.errors import FileError
from gdkernels.system.machine import machine


class TestKept:
    def test_it_comes_back(self, cache):
        keep(made())
        assert current("float32", VERSIONS) == (made(), "by the calibration of this machine")
        assert current("float64", VERSIONS)[1] == "by the shipped table"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b'{"format": 1}',
            b"\xff\xfe",
            made().as_json().replace('"format": 1', '"format": 2').encode(),
        ]
        + [made().as_json().replace("1e-09", text).encode() for text in ("-1", "NaN", '"x"', "true", "1e999")]
        + [made().as_json().replace("product_flops", "wishes").encode()],
    )
    def test_a_damaged_one_is_ignored_and_said(self, cache, content, caplog):
        keep(made()).write_bytes(content)
        assert current("float32", VERSIONS)[1] == "by the shipped table"
        assert current("float32", VERSIONS)[1] == "by the shipped table"
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "is ignored" in caplog.text
        assert "`gdkernels calibrate` makes a new one" in caplog.text

    def test_one_of_other_versions_is_ignored_and_said(self, cache, caplog):
        keep(made())
        assert current("float32", VERSIONS | {"numpy": "3"})[1] == "by the shipped table"
        assert "is of other versions" in caplog.text

    def test_one_of_another_machine_is_not_used(self, cache, monkeypatch):
        keep(made())
        monkeypatch.setattr(calibration, "machine", lambda: {**machine(), "cores": 999})
        assert current("float32", VERSIONS)[1] == "by the shipped table"

    def test_one_that_others_can_write_is_ignored(self, cache, caplog):
        keep(made())
        cache.chmod(0o777)
        assert current("float32", VERSIONS)[1] == "by the shipped table"
        assert "can be written by others" in caplog.text

    def test_where_nothing_can_be_kept_that_is_said(self, cache):
        cache.write_text("")
        with pytest.raises(FileError, match="no calibration can be kept.*GDKERNELS_CACHE names another place"):
            keep(made())

    def test_where_nothing_can_be_kept_nothing_is_measured(self, cache, monkeypatch, capsys):
        cache.write_text("")
        monkeypatch.setattr(
            "gdkernels.bench.calibrating.calibrate.calibrate", lambda *_, **__: pytest.fail("it was measured")
        )
        assert main(["calibrate"]) == 2
        assert "no calibration can be kept" in capsys.readouterr().err

    def test_a_folder_that_is_only_read_still_serves(self, cache, monkeypatch):
        keep(made())
        cache.chmod(0o500)
        assert current("float32", VERSIONS)[1] == "by the calibration of this machine"
        monkeypatch.setattr(os, "access", lambda *_: False)  # whoever runs this may be root
        with pytest.raises(FileError, match="is read-only"):
            keep(made())
        cache.chmod(0o700)

    @pytest.mark.parametrize("precision", ["float32", "float64"])
    def test_the_shipped_table(self, cache, precision):
        table, source = current(precision, VERSIONS)
        assert source == "by the shipped table"
        assert table.precision == precision
        assert {(c.backend, c.device, c.threads) for c in table.prices} == {
            ("numba", "cpu", None),
            ("numpy", "cpu", None),
        }

    def test_nothing_is_known_of_the_other_precisions(self, cache):
        assert current("tf32", VERSIONS)[0] is None
