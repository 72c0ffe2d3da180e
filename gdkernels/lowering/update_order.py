"""The order of the update: numbers that follow from totals, and loops over the parameters."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from gdkernels.errors import ScheduleError
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import ELEMENTWISE, REAL
from gdkernels.lowering.loops import make_loop
from gdkernels.lowering.steps import NUMBER, UNITS, WEIGHTS, Loop, StepSchedule, has_dim, kind_of, value_of, wide_dims

__all__ = ["order_update"]


def order_update(
    result: StepSchedule, nodes: Sequence[Node], batch: Dim, outputs: Mapping[str, Node], totals: Iterable[Node]
) -> None:
    """Add the phases of the update to `result`: one, or two where the update needs a sum over the parameters."""
    phase: dict[int, int] = {}
    sums: list[Node] = []  # over parameters
    for node in nodes:
        phase[node.id] = max((phase[value_of(a).id] for a in node.args), default=0)
        if node.op == "sum" and kind_of(value_of(node.args[0]), batch) in (WEIGHTS, UNITS):
            phase[node.id] += 1
            sums.append(node)
    if max(phase.values(), default=0) > 1:
        raise ScheduleError("the update reduces over the parameters more than once")

    inputs = {n.attribute: n for n in nodes if n.op == "input"}
    slots = {name: [m for m in outputs if m.split(".")[0] == name] for name in outputs if "." not in name}
    owners: dict[int, str] = {}
    for name, mine in slots.items():
        for leaf in _leaves((outputs[m] for m in mine), batch):
            if owners.setdefault(leaf.id, name) != name and leaf.op != "input":
                raise ScheduleError(f"the updates of {owners[leaf.id]} and {name} both need {leaf}")
    if sums:
        result.updates.append(_reductions(result, slots, inputs, owners, sums, batch))
    last: dict[str, Loop] = {}
    for name, mine in slots.items():
        new = [n for n in (value_of(outputs[m]) for m in mine) if n.op != "input"]
        if new:
            kind = kind_of(new[0], batch)
            last[name] = make_loop(result, kind, 0, new)
            result.written[name] = tuple(m for m in mine if value_of(outputs[m]).op != "input")
    result.updates.append(last)
    for loops in result.updates:
        for name, loop in loops.items():
            _check_reads(name, loop, [*slots[name], f"{name}.gradient"], outputs, batch)

    wanted = [*map(value_of, totals), *(n for loops in result.updates for loop in loops.values() for n in loop.reads)]
    computed = {n.id: n for n in wanted if n.dtype == REAL and n.op in ELEMENTWISE and kind_of(n, batch) == NUMBER}
    for k in range(len(result.updates)):
        now = [n for n in computed.values() if phase[n.id] == k]
        result.numbers.append(make_loop(result, NUMBER, 0, now) if now else None)


def _reductions(
    result: StepSchedule,
    slots: Mapping[str, list[str]],
    inputs: Mapping[str, Node],
    owners: Mapping[int, str],
    sums: list[Node],
    batch: Dim,
) -> dict[str, Loop]:
    """Return the sums over each parameter, by the parameter: that whose values or gradient a sum is made of."""
    found: dict[str, list[Node]] = {}
    for total in sums:
        made_of = {owners.get(leaf.id) for leaf in _leaves([value_of(total.args[0])], batch)}
        name = made_of.pop() if len(made_of) == 1 else None
        if name is None:
            raise ScheduleError(f"{total} sums over something that is no parameter")
        found.setdefault(name, []).append(total)
    return {name: make_loop(result, kind_of(inputs[name], batch), 0, (), mine) for name, mine in found.items()}


def _leaves(nodes: Iterable[Node], batch: Dim) -> list[Node]:
    """Return the parameters, slots and sums over the batch that values are made of element by element."""
    leaves: list[Node] = []
    seen: set[int] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node.id in seen or not wide_dims(node.shape):
            continue
        seen.add(node.id)
        if node.op == "input" or any(has_dim(a, batch) for a in node.args):
            leaves.append(node)
        else:
            pending.extend(node.args)
    return leaves


def _check_reads(name: str, loop: Loop, mine: Sequence[str], changed: Collection[str], batch: Dim) -> None:
    for node in loop.reads:
        kind = kind_of(node, batch)
        if has_dim(node, batch) or kind not in (NUMBER, loop.kind):
            raise ScheduleError(f"the update of {name} needs {node}, which has another shape")
        if node.op == "input" and kind != NUMBER and node.attribute not in mine and node.attribute in changed:
            raise ScheduleError(f"the update of {name} needs {node.attribute}")
