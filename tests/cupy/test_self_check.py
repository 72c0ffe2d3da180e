"""Before a compiled way is believed, two steps of it are compared with the definition: faults are planted here."""

import logging
from dataclasses import dataclass, replace

import numpy as np
import pytest
import standin
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.cuda.errors import DeviceMemoryError
from gdkernels_cupy.graphs import calls
from gdkernels_cupy.graphs.probe import trusted_epilogues
from host_runs import Run

from gdkernels.backend import verification
from gdkernels.checking import check, reference, ways
from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD, Optimizer
from gdkernels.errors import BackendError, InputError
from gdkernels.system.cache_folder import cache_folder
from gdkernels.testing.cases import CASES, varied


@pytest.fixture
def checked(host, monkeypatch):
    """Return the host, where everything is checked."""
    monkeypatch.delenv("GDKERNELS_CHECK")
    ways._warn_once.cache_clear()
    return host


@pytest.fixture
def planted(checked, monkeypatch):
    """Return what makes products wrong from now on, where a test of their descriptor and result says so."""

    def plant(is_hit, change):
        for precision in ("float32", "bfloat16", "tf32", "float64"):
            trusted_epilogues(0, precision)  # what is wrong in sizes of the probe is not used in the first place

        def matmul(*given):
            def work():
                standin.matmul(*given)
                out = standin.matrix(given[2][2], given[3][2])
                if is_hit(given[1][cublaslt.DescriptorAttribute.EPILOGUE], out):
                    change(out)

            checked.execute(work)

        monkeypatch.setattr(cublaslt, "matmul", matmul)

    return plant


def add_one(out):
    out[0, 0] += np.float32(1.0).astype(out.dtype) if out.dtype != np.uint16 else np.uint16(0x80)


def plain(epilogue, out):
    return epilogue == cublaslt.Epilogue.DEFAULT


def of_definition(run):
    state = verification.start(run.case.program, run.data.parameters, lambda a: np.asarray(a, np.float64))
    order = np.arange(len(run.x))[::-1]
    rates = np.linspace(0.01, 0.005, -(-len(order) // run.case.batch_size))
    verification.continue_on_numpy(run.case.program, state, run.data.x, run.data.y, order, run.case.batch_size, rates)
    return dict(verification.named_arrays(state))


# ---- what is right is believed, once


PRECISIONS = ("float64", "float32", "tf32", "bfloat16")
OFTEN = (
    "adam", "a last batch of one", "clipping", "elu-binary_cross_entropy", "everything", "softmax-cross_entropy",
    "weighted everything", "relu-sse",
)  # fmt: skip
EVERY = [
    pytest.param(name, precision, marks=() if name in OFTEN else pytest.mark.slow)
    for name in CASES
    for precision in PRECISIONS
]


@pytest.mark.parametrize(("name", "precision"), EVERY)
def test_what_is_right_is_used_and_nothing_is_said(checked, caplog, name, precision):
    run = Run(name, precision)
    weights = {} if run.data.sample_weight is None else {"sample_weight": run.put(run.data.sample_weight)}
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run.epoch(**weights)
        run.executable.predict(run.state.parameters, run.x)
    assert caplog.text == ""
    assert run.executable.plan.choices["kernel"] == "graphs"
    assert run.executable.origin == "compiled"
    assert len(list(cache_folder().glob("check-*.json"))) == 1, "it was compared, and found right"


@pytest.mark.parametrize("name", ["relu-sse", *(pytest.param(n, marks=pytest.mark.slow) for n in OFTEN[:-1])])
def test_a_library_may_cut_operands_off_for_tf32(checked, monkeypatch, caplog, name):
    monkeypatch.setattr(standin, "round_to_tf32", standin.cut_to_tf32)
    test_what_is_right_is_used_and_nothing_is_said(checked, caplog, name, "tf32")


def test_the_check_changes_nothing(checked, monkeypatch):
    seen = Run("adam")
    result = seen.epoch()
    monkeypatch.setenv("GDKERNELS_CHECK", "never")
    unseen = Run("adam")
    assert unseen.epoch() == result
    assert unseen.bits == seen.bits
    assert unseen.state.step == seen.state.step
    assert unseen.executable.plan == seen.executable.plan


@pytest.fixture
def compared(checked, monkeypatch):
    """Return a list that grows with every comparison."""
    found, compare = [], check.SelfCheck._compared
    monkeypatch.setattr(check.SelfCheck, "_compared", lambda *given: found.append(1) or compare(*given))
    return found


def test_it_is_compared_once_for_each_kernel_and_batch(compared, monkeypatch):
    run = Run("adam")
    run.epoch()
    run.epoch()
    Run("adam").epoch()
    assert len(compared) == 1, "a file says so to the next process"
    other = Run("adam")
    other.case = replace(other.case, batch_size=5)
    other.epoch()
    assert len(compared) == 2
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    Run("adam").epoch()
    assert len(compared) == 3
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    Run("adam").epoch()
    assert len(compared) == 4
    monkeypatch.setenv("GDKERNELS_CHECK", "never")
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    last = Run("adam")
    last.case = replace(last.case, batch_size=6)
    last.epoch()
    assert len(compared) == 4


@dataclass(frozen=True)
class Fading(Optimizer):
    """w ← w − (η/tᵖ)·g."""

    power: float = 1.0

    def rule(self, w, g, slots, *, learning_rate, t, xp):
        return w - (learning_rate / t**self.power) * g, ()


def test_another_rule_of_the_same_kernels_is_compared_too(compared):
    """Rates and corrections are numbers of the host, in no kernel's text."""
    for optimizer in (Fading(), Fading(power=0.5), Fading()):
        Run("adam", program=replace(CASES["adam"].program, optimizer=optimizer)).epoch()
    assert len(compared) == 2


def test_a_folder_of_others_is_not_believed(compared):
    cache_folder().mkdir()
    cache_folder().chmod(0o777)
    Run("adam").epoch()
    Run("adam").epoch()
    assert len(compared) == 2
    assert list(cache_folder().iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"problem": 1}', '"right"'])
def test_what_is_kept_is_not_believed_blindly(compared, text):
    Run("adam").epoch()
    (kept,) = cache_folder().glob("check-*.json")
    kept.write_text(text)
    Run("adam").epoch()
    assert len(compared) == 2


def test_another_word_is_refused(checked, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CHECK", "sometimes")
    with pytest.raises(InputError, match=r"unknown GDKERNELS_CHECK 'sometimes'.*always, never"):
        Run("adam").epoch()


# ---- what is wrong is not used


@pytest.mark.parametrize("batch_size", [8, 3])
def test_one_added_to_an_element_of_every_plain_product_is_noticed(planted, caplog, batch_size):
    planted(plain, add_one)
    run = Run("adam", program=varied(CASES["adam"].program, activations=(activations.tanh,) * 3))
    run.case = replace(run.case, batch_size=batch_size)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run.epoch()
        run.epoch()
    assert caplog.text.count("the engine of CUDA graphs is not used for 5-7-6-3 in float32 on cuda:0: ") == 1
    assert "is off by" in caplog.text
    assert run.executable.origin == "definition"
    assert run.executable.plan.choices == {"kernel": "definition"}
    again = Run("adam", program=run.case.program, kernel="definition")
    again.epoch()
    assert again.executable.origin == "definition"


def test_the_definition_s_result_comes_out_then(planted):
    planted(plain, add_one)
    run = Run("adam")
    run.epoch()
    wanted = of_definition(run)
    for name, array in verification.named_arrays(run.state):
        assert verification.relative_error(array, wanted[name]) < 1e-5, name


def test_where_nothing_is_left_it_is_an_error_with_the_way_on(planted):
    planted(plain, add_one)
    run = Run("adam", "bfloat16")
    before = run.bits
    with pytest.raises(BackendError, match=r"nothing computes this network rightly in bfloat16 on cuda:0.*float32"):
        run.epoch()
    assert run.bits == before


def test_a_failure_is_remembered_and_said_in_the_next_process(planted, caplog, monkeypatch):
    planted(plain, add_one)
    Run("adam").epoch()
    ways._warn_once.cache_clear()
    monkeypatch.setattr(check.SelfCheck, "_compared", None)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run = Run("adam")
        run.epoch()
    assert "is not used for" in caplog.text
    assert run.executable.origin == "definition"


def test_an_epilogue_that_is_wrong_in_this_size_alone_is_left_out(planted, caplog):
    planted(lambda epilogue, out: epilogue & standin.RELU and out.shape[0] > 100, add_one)
    run = Run("wide")
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run.epoch()
    assert caplog.text.count("is not used") == 1
    assert run.executable.plan.choices["epilogues"] == ()
    assert run.executable.origin == "compiled"


def test_bits_that_differ_from_run_to_run_are_noticed(planted, caplog):
    random = np.random.default_rng(0)

    def tremble(out):
        out *= np.float32(1.0 + 1e-7 * random.integers(2, 9))

    planted(plain, tremble)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        Run("adam").epoch()
    assert "two runs from the same start differ in" in caplog.text


@pytest.mark.parametrize("rate", [1e-9, 0.0])
def test_steps_that_hardly_move_hide_nothing(planted, rate):
    """A gradient that is a tenth too large moves nothing by more than the rounding of the weights."""
    planted(plain, lambda out: np.multiply(out, np.float32(1.1), out=out))
    run = Run("adam", program=replace(CASES["adam"].program, optimizer=SGD()))
    rates = np.full(-(-len(run.x) // run.case.batch_size), rate)
    run.executable.run(run.state, run.x, run.y, np.arange(len(run.x)), run.case.batch_size, rates)
    assert run.executable.origin == "definition"


@pytest.mark.parametrize("what", ["a row", "the weights"])
def test_where_the_user_s_numbers_are_none_drawn_ones_take_their_place(planted, what):
    planted(plain, add_one)
    run = Run("adam")
    target = run.x if what == "a row" else run.state.parameters["W0"]
    target[...] = np.nan
    run.epoch()
    assert run.executable.origin == "definition"


def test_what_gives_no_number_on_any_data_is_run_and_that_is_said(checked, caplog):
    def broken(z, *, xp):
        return z + xp.log(0.0 * z - 1.0)

    run = Run("adam", program=varied(CASES["adam"].program, activations=(broken,) * 3))
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run.epoch()
    assert "nothing was checked on cuda:0: the definition gives no finite numbers" in caplog.text
    assert run.executable.origin == "compiled"


def test_where_copies_do_not_fit_that_is_said(checked, monkeypatch, caplog):
    def full(*given):
        raise DeviceMemoryError("no room")

    monkeypatch.setattr(check.SelfCheck, "_reference", full)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run = Run("adam")
        run.epoch()
    assert "nothing was checked on cuda:0: copies for it do not fit (no room)" in caplog.text
    assert run.executable.origin == "compiled"
    assert not list(cache_folder().glob("check-*.json")), "it is checked when there is room"


@pytest.mark.parametrize("precision", ["float64", "float32", "tf32", "bfloat16"])
def test_large_networks_are_compared_on_the_device(compared, monkeypatch, precision):
    monkeypatch.setattr(check, "_LARGE", 0)
    run = Run("adam", precision)
    run.epoch()
    run.executable.predict(run.state.parameters, run.x)
    assert compared
    assert run.executable.origin == "compiled"


# ---- batches of more rows than the definition does


@pytest.mark.parametrize("name", ["adam", "everything", "softmax-cross_entropy", "norm of a clipped gradient"])
def test_rows_that_come_again_are_weighted(compared, monkeypatch, caplog, name):
    monkeypatch.setattr(check, "rows_to_check", lambda widths: 7)
    run = Run(name)
    weights = {} if run.data.sample_weight is None else {"sample_weight": run.put(run.data.sample_weight)}
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run.epoch(**weights)
    assert caplog.text == ""
    assert compared


def test_a_sum_that_leaves_out_what_comes_late_in_a_large_batch_is_noticed(checked, monkeypatch):
    """Such as the second of two parts of a batch: seven rows, once each, would not get there."""
    monkeypatch.setattr(check, "rows_to_check", lambda widths: 7)
    total, seen = calls._total, []

    def overwriting(op, at):
        seen.append(op.accumulate)
        return *total(op, at)[:-1], np.int32(0)

    monkeypatch.setattr(calls, "_total", overwriting)
    run = Run("adam", micro_batches=2)
    run.epoch()
    assert any(seen)
    assert run.executable.origin == "definition"


def test_the_rows_are_as_many_as_a_second_allows():
    assert reference.rows_to_check((64,) * 5) == 640
    assert reference.rows_to_check((4096,) * 5) == 2
    assert 2 < reference.rows_to_check((512,) * 5) < 640


# ---- predictions


def test_a_wrong_prediction_is_not_given(planted, caplog):
    planted(lambda epilogue, out: True, add_one)
    run = Run("adam")
    with caplog.at_level(logging.WARNING, "gdkernels"):
        found = run.executable.predict(run.state.parameters, run.x)
        again = run.executable.predict(run.state.parameters, run.x)
    assert "its predictions are off by" in caplog.text
    wanted = verification.predict_on_numpy(run.case.program, run.data.parameters, run.data.x)
    assert verification.relative_error(np.asarray(found), wanted) < 1e-5
    assert np.array_equal(found, again)
    with pytest.raises(BackendError, match="nothing computes this network rightly in tf32"):
        Run("adam", "tf32").executable.predict(run.state.parameters, run.x)
