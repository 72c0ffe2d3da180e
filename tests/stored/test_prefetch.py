"""Parts are read ahead, by a thread of their own where the process can have one."""

import threading

import pytest

from gdkernels.data.stored.prefetch import ahead


def no_thread(self):
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("threads", [True, False])
def test_parts_come_in_their_order(threads, monkeypatch):
    if not threads:
        monkeypatch.setattr(threading.Thread, "start", no_thread)
    readers = set()

    def load(k):
        readers.add(threading.current_thread())
        return 10 * k

    assert list(ahead(load, range(5))) == [0, 10, 20, 30, 40]
    assert (readers == {threading.current_thread()}) == (not threads)


@pytest.mark.parametrize("threads", [True, False])
def test_an_error_comes_when_its_part_is_due(threads, monkeypatch):
    if not threads:
        monkeypatch.setattr(threading.Thread, "start", no_thread)
    parts = ahead(lambda k: 1 / (2 - k), range(5))
    assert [next(parts), next(parts)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(parts)
