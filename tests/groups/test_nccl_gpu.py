"""Groups on a GPU that is there: shards of one rank, NCCL captured, and what two ranks on one device are told.

python -m pytest -m gpu tests/groups/test_nccl_gpu.py
mpiexec -n 2 python -m gdkernels train digits --backend cupy --shards 2 --json   (with one GPU, and with two)
"""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.groups import SerialGroup

pytestmark = pytest.mark.gpu

X = np.random.default_rng(0).standard_normal((1003, 24)).astype(np.float32)
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)


@pytest.fixture(autouse=True)
def device():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.cuda.is_available():
        pytest.skip("there is no GPU")
    from gdkernels_cupy.cuda.device import device

    return device(0)


@pytest.mark.parametrize("sizes", [(24, 256, 256, 2), (24, 64, 64, 2)])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_shards_on_a_gpu_are_the_definition(sizes, precision):
    def trained(backend, precision):
        model = gd.MLP(sizes, seed=0, backend=backend, precision=precision)
        settings = {"epochs": 4, "batch_size": 100, "optimizer": "adam", "clip_norm": 1.0, "progress": False}
        history = model.fit(X, Y, shards=3, **settings)
        return history, [np.asarray(a) for a in model.network.host_parameters().values()]

    one, again = trained("cupy", precision), trained("cupy", precision)
    assert one[0].plan.choices["kernel"] == "graphs"
    assert "over the host" not in one[0].reason
    assert all((a == b).all() for a, b in zip(one[1], again[1], strict=True)), "the same bits, again"
    bound = 1e-4 if precision == "float32" else 3e-2
    assert one[0].loss == pytest.approx(trained("numpy", "float32")[0].loss, rel=bound)


def test_nccl_carries_captured_bytes(device):
    from gdkernels_cupy.cuda.nccl import NcclRanks, problem_of_ranks

    reason = problem_of_ranks(SerialGroup(), 0)
    if reason is not None:
        pytest.skip(reason)
    with device.lock:
        ranks = NcclRanks(SerialGroup(), device)
        assert ranks.problem(SerialGroup(), device) is None
        assert ranks.seconds(1 << 20, SerialGroup(), device) < 1.0
