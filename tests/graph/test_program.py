"""Traces of training steps compute what the definition does, on NumPy and on another graph."""

import dataclasses

import expected
import numpy as np
import pytest

from gdkernels.backend.arguments import arrays_by_name
from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from gdkernels.errors import TraceError
from gdkernels.graph import Graph, Node, interpret, topological
from gdkernels.testing.cases import chained, varied

SIZES, BATCH = [3, 4, 2], 5


class Lion(Optimizer):
    learning_rate = 1e-3
    slots = 1

    def rule(self, w, g, slots, *, learning_rate, t, xp):
        m = 0.9 * slots[0] + 0.1 * g
        return w - learning_rate * xp.sign(m) * (1.0 - 0.5**t), (m,)


def mish(z, *, xp):
    return z * xp.tanh(xp.logaddexp(z, 0.0))


def program(activation="tanh", loss="sse", optimizer=None, **keywords):
    hidden = activations.BY_NAME.get(activation, activation)
    plain = chained((hidden, activations.identity), SIZES, optimizer=optimizer or SGD())
    return varied(plain, loss=losses.BY_NAME[loss], **keywords)


PROGRAMS = (
    {f"{a}": program(a) for a in activations.BY_NAME}
    | {f"{ell}": program("silu", ell) for ell in losses.BY_NAME}
    | {
        repr(o): program("gelu", "cross_entropy", o)
        for o in (SGD(momentum=0.9), SGD(momentum=0.9, nesterov=True), RMSprop(), Adam(), AdamW())
    }
    | {
        "the user's own": program(mish, "huber", Lion()),
        "sum": program(reduction="sum"),
        "no bias": program(bias=False),
        "l2": program(l2=0.01),
        "norm": program(gradient_norm=True),
        "clipped": program(clip_norm=0.5),
        "all together": program("elu", "poisson", AdamW(), l2=0.01, clip_norm=0.5, gradient_norm=True, bias=False),
        "no hidden layer": chained((activations.softmax,), (3, 2), objective=Objective(losses.mse), optimizer=Adam()),
        "five hidden layers": chained(
            (activations.relu,) * 5 + (activations.identity,),
            (3, 4, 4, 4, 4, 4, 2),
            objective=Objective(losses.sse),
            optimizer=SGD(),
        ),
    }
)


def state(p, dtype="float64"):
    """Return parameters, slots, x and y for the program, and the same by the names of the trace's inputs."""
    rng = np.random.default_rng(21)
    parameters = {name: rng.standard_normal(told.shape).astype(dtype) for name, told in p.parameters.items()}
    slots = {
        name: tuple(rng.uniform(0.1, 1.0, size=a.shape).astype(dtype) for _ in range(p.slots))
        for name, a in parameters.items()
    }
    loss = next(name for name, f in losses.BY_NAME.items() if f == p.objective.loss)
    x = rng.standard_normal((BATCH, p.inputs)).astype(dtype)
    y = expected.targets(loss, (BATCH, p.outputs), rng).astype(dtype)
    named = {"x": x, "y": y, "learning_rate": 0.01, "t": 3.0} | arrays_by_name(parameters, slots)
    return parameters, slots, x, y, named


def direct(p, parameters, slots, x, y):
    """Return what the definition gives, by the names of the trace."""
    error, norm, moved, new_slots = p.train_step(parameters, slots, x, y, learning_rate=0.01, t=3.0, xp=np)
    return {"error": error} | ({} if norm is None else {"norm": norm}) | arrays_by_name(moved, new_slots)


def outputs(step):
    return {"error": step.error} | ({} if step.norm is None else {"norm": step.norm}) | step.results


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 3e-6)])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_trace_of_a_step_computes_the_step(name, dtype, tolerance):
    p = PROGRAMS[name]
    *arrays, named = state(p, dtype)
    wanted, nodes = direct(p, *arrays), outputs(p.trace())
    assert set(wanted) == set(nodes)
    for key, value in zip(nodes, interpret(nodes.values(), named, xp=np), strict=True):
        assert value.dtype == dtype
        assert value.shape == wanted[key].shape
        # A few units in the last place of the largest: scalars are gathered, so products associate differently.
        largest = np.abs(wanted[key]).max()
        np.testing.assert_allclose(value, wanted[key], rtol=tolerance, atol=8 * tolerance * largest, err_msg=key)


@pytest.mark.parametrize("name", PROGRAMS)
def test_numbers_as_inputs_compute_the_same_step(name):
    p = PROGRAMS[name]
    *_, named = state(p)
    wanted = interpret(outputs(p.trace()).values(), named, xp=np)
    nodes = outputs(p.trace(numbers_as_inputs=True))
    for value, one in zip(interpret(nodes.values(), named | dict(p.numbers), xp=np), wanted, strict=True):
        np.testing.assert_allclose(value, one, rtol=1e-14)


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": SGD(0.1, momentum=0.3)},
        {"optimizer": SGD(0.1, momentum=0.99, nesterov=True)},
        {"optimizer": RMSprop(rho=0.5, epsilon=1.0)},
        {"optimizer": Adam(beta1=0.5, beta2=0.25, epsilon=1e-3)},
        {"optimizer": AdamW(weight_decay=0.5)},
        {"l2": 0.5},
        {"clip_norm": 2.0},
    ],
    ids=str,
)
def test_programs_with_other_numbers_are_one_without(changed):
    other = {name: dataclasses.replace(o, **_OTHER[type(o)]) for name, o in changed.items() if name == "optimizer"}
    one = program(**changed)
    two = program(**(other or {name: value / 3 for name, value in changed.items()}))
    assert one.numbers.keys() == two.numbers.keys()
    assert one.numbers != two.numbers
    assert one.without_numbers == two.without_numbers
    graphs = [structure(outputs(p.trace(numbers_as_inputs=True))) for p in (one, two)]
    assert graphs[0] == graphs[1]


_OTHER = {
    SGD: {"momentum": 0.7},
    RMSprop: {"rho": 0.7, "epsilon": 0.1},
    Adam: {"beta1": 0.7, "beta2": 0.8, "epsilon": 0.1},
    AdamW: {"beta1": 0.7, "beta2": 0.8, "epsilon": 0.1, "weight_decay": 0.1},
}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"optimizer": SGD()}, {"optimizer": SGD(momentum=0.9)}),
        ({"optimizer": SGD(momentum=0.9)}, {"optimizer": SGD(momentum=0.9, nesterov=True)}),
        ({"optimizer": Adam()}, {"optimizer": Adam(beta1=0.0)}),
        ({"optimizer": AdamW()}, {"optimizer": AdamW(weight_decay=0.0)}),
        ({"l2": 0.1}, {}),
        ({"clip_norm": 0.1}, {}),
    ],
)
def test_a_number_that_is_0_or_missing_makes_another_program(one, two):
    assert program(**one).without_numbers != program(**two).without_numbers


def test_a_rule_of_your_own_says_itself_which_numbers_it_takes():
    class Branching(Adam):  # inherits names of numbers that its rule branches on
        def rule(self, w, g, slots, *, learning_rate, t, xp):
            return (w - learning_rate * g, slots) if self.beta1 > 0.5 else (w, slots)

    @dataclasses.dataclass(frozen=True)
    class Signed(Optimizer):
        learning_rate: float = 0.1
        share: float = 0.25
        numbers = ("learning_rate", "share")

        def rule(self, w, g, slots, *, learning_rate, t, xp):
            return w - learning_rate * self.share * xp.sign(g), ()

    assert program(optimizer=Branching()).numbers == {}
    program(optimizer=Branching()).trace(numbers_as_inputs=True)
    assert program(optimizer=Signed()).numbers == {"optimizer.share": 0.25}
    assert program(optimizer=Signed()).without_numbers == program(optimizer=Signed(0.3, 0.5)).without_numbers
    assert Lion().numbers == ()


@pytest.mark.parametrize("name", ["identity", "tanh", "relu", "sse", "mse", "l2", "sum", "no bias"])
def test_the_same_operations_give_the_same_bits(name):
    p = PROGRAMS[name]
    *arrays, named = state(p)
    wanted, nodes = direct(p, *arrays), outputs(p.trace())
    forward = ["error"]
    for key, value in zip(forward, interpret([nodes[k] for k in forward], named, xp=np), strict=True):
        assert value.tobytes() == wanted[key].tobytes()


def structure(nodes):
    """Return the nodes that these depend on, written so that equal graphs give equal texts."""
    order = topological(*nodes.values())
    number = {n.id: k for k, n in enumerate(order)}
    return [
        (n.op, tuple(number[a.id] for a in n.args), str(n.attribute), tuple(map(str, n.shape)), n.dtype) for n in order
    ]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_trace_interpreted_on_a_graph_is_the_same_graph_again(name):
    step = PROGRAMS[name].trace()
    nodes = outputs(step)
    again = Graph()
    first = {d: d for n in step.graph.nodes for d in n.shape if not isinstance(d, int)}
    dims = {1: 1} | {d: again.dim(d.name) for d in first}
    used = [n for n in topological(*nodes.values()) if n.op == "input"]
    inputs = {n.attribute: again.input(n.attribute, tuple(dims[d] for d in n.shape), n.dtype) for n in used}
    retraced = dict(zip(nodes, interpret(nodes.values(), inputs, xp=again), strict=True))
    assert all(isinstance(n, Node) and n.graph is again for n in retraced.values())
    assert [n.shape for n in retraced.values()] == [tuple(dims[d] for d in n.shape) for n in nodes.values()]
    ours, theirs = structure(nodes), structure(retraced)
    assert len(theirs) == len(ours)
    assert sorted(x[0] for x in theirs) == sorted(x[0] for x in ours)
    *_, named = state(PROGRAMS[name])
    wanted = interpret(nodes.values(), named, xp=np)
    for key, a, b in zip(nodes, wanted, interpret(retraced.values(), named, xp=np), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=key)


def test_tracing_twice_gives_the_same_graph():
    p = PROGRAMS["all together"]
    assert structure(outputs(p.trace())) == structure(outputs(p.trace()))


def test_on_every_namespace(namespace):
    p = PROGRAMS["all together"]
    *arrays, named = state(p, "float32")
    wanted, nodes = direct(p, *arrays), outputs(p.trace())
    given = {k: v if isinstance(v, float) else namespace.array(v, "float32") for k, v in named.items()}
    for key, value in zip(nodes, interpret(nodes.values(), given, xp=namespace.xp), strict=True):
        found = namespace.numpy(value)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted[key], rtol=2e-5, atol=2e-6, err_msg=key)


def test_an_untraceable_rule_names_its_line_and_still_runs_directly():
    class Clipped(Optimizer):
        learning_rate = 1e-3

        def rule(self, w, g, slots, *, learning_rate, t, xp):
            return w - learning_rate * xp.round(g), slots

    p = program(optimizer=Clipped())
    with pytest.raises(TraceError, match=r"xp\.round is not .*\(in rule, .*test_program\.py:\d+: `return w"):
        p.trace()
    *arrays, _ = state(p)
    assert np.isfinite(direct(p, *arrays)["W0"]).all()


def test_inputs_are_named_as_they_are_documented():
    step = program(optimizer=Adam()).trace()
    names = {n.attribute for n in topological(*outputs(step).values()) if n.op == "input"}
    parameters = {"W0", "b0", "W1", "b1"}
    slots = {f"{p}.{s}" for p in parameters for s in (0, 1)}
    assert names == {"x", "y", "learning_rate", "t"} | parameters | slots
    assert set(step.results) == parameters | slots
    assert [str(d) for d in step.results["W0"].shape] == ["n3", "n4"]
    assert [str(d) for d in step.results["b1.1"].shape] == ["n2"]
    assert step.sizes == {"n3": 3, "n4": 4, "n2": 2}
