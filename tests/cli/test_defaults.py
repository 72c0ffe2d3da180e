"""Defaults follow the number of training records."""

import pytest

from gdkernels.tabular.settings import defaults


@pytest.mark.parametrize(
    ("records", "size"), [(1, 32), (1294, 32), (12_800, 32), (12_801, 64), (30_000, 128), (10**6, 512), (10**9, 512)]
)
def test_batch_size(records, size):
    assert defaults.batch_size(records) == size


def test_l2_weighs_as_much_against_the_whole_loss_however_many_records():
    assert defaults.l2(50) * 50 == pytest.approx(defaults.l2(5000) * 5000)


def test_encoded_numbers_take_finer_bins_and_a_weaker_penalty_the_more_records_there_are():
    few, some, many = defaults.FEW - 1, defaults.FEW, defaults.SMALL + 1
    assert [defaults.bins(records) for records in (few, some, many)] == [8, 16, 24]
    assert [defaults.l2(records, encoded=True) * records for records in (few, some, many)] == [4.0, 1.0, 1.0]
    assert [defaults.hidden_of_encoded(records) for records in (few, some)] == [(256,), (128, 128)]


def test_small_tables_are_given_time():
    small, more = defaults.SMALL, defaults.SMALL + 1
    assert (defaults.epochs(small), defaults.patience(small), defaults.hidden(small)) == (1000, 30, (256,))
    assert (defaults.epochs(more), defaults.patience(more), defaults.hidden(more)) == (200, 10, (128, 128))


def test_a_network_leaves_out_a_fifth_or_where_each_row_counts_and_there_is_time_a_tenth():
    bounds = defaults.FEW, defaults.FEW + 1, defaults.SMALL, defaults.SMALL + 1
    assert [defaults.folds(records) for records in bounds] == [5, 10, 10, 5]
