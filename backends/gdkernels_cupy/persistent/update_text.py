"""The text for what follows the tiles: gradients are summed in the order of the CTAs, parameters move."""

from collections.abc import Iterable

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import Loop
from gdkernels_cupy.persistent.grid import SHARED_MODEL, CtaSharing
from gdkernels_cupy.persistent.memory import KernelMemory, WeightGradient
from gdkernels_cupy.persistent.text import body_of, scalar_lines

__all__ = ["UpdateText"]


class UpdateText:
    """Writes the update of every parameter and slot."""

    def __init__(self, memory: KernelMemory, sharing: CtaSharing = SHARED_MODEL) -> None:
        self.memory, self.sharing = memory, sharing

    def leave_gradients(self) -> list[str]:
        """Return how a CTA leaves its gradients for the others."""
        lines = [
            f"d{k}.write({self.memory.place_of(k)});"
            for k in self.memory.gradient_of
            if k not in self.memory.spilled_gradients
        ]
        # All warps met after sums of what a gradient multiplies, before that; of other values they have not.
        multiplied = {n.id for g in self.memory.gradient_of.values() for n in g.product.operands}
        if any(one.values.right.id not in multiplied for one in self.memory.sums.values()):
            lines.append("cta_sync();")
        for one in self.memory.sums.values():
            to = f"mine_at[{self.memory.partial.offsets[one.name]} + c]"
            count = self.memory.warps * one.columns
            lines.append(f"for (int c = thread(); c < {count}; c += THREADS) {to} = {one.name}[c];")
        return lines

    def leave_totals(self) -> list[str]:
        """Return how a CTA leaves its sums over the batch for the others."""
        totals = self.memory.totals[0]
        if not totals:
            return []
        count, values = len(totals), ", ".join(f"n{n.id}" for n in totals)
        return [
            f"const float mine[{count}] = {{{values}}};",
            f"total_of_cta<{count}>({self.sharing.totals_to(0, 0, count)}, mine, parts0);",
        ]

    def lines(self) -> list[str]:
        """Return what follows when all CTAs have left theirs."""
        schedule = self.memory.schedule
        lines = scalar_lines(self.memory, self.memory.update_scalars)
        phases = len(schedule.updates)
        if self.memory.totals[0]:
            needed = any(self._reads_totals(phase, self.memory.totals[0]) for phase in range(phases))
            lines += self.sharing.totals(0, 0, len(self.memory.totals[0]), needed=needed)
            lines += [f"const float n{n.id} = totals0[{k}];" for k, n in enumerate(self.memory.totals[0])]
        for phase in range(phases):
            lines += self._number_lines(phase)
            last = phase == phases - 1
            if not last:
                lines += [f"float p{n.id} = 0.f;" for n in self.memory.totals[phase + 1]]
            lines += self._position_loop(phase, last=last)
            if not last:
                lines += self._sum_over_parameters(phase + 1)
        results = self.memory.results
        outputs = ", ".join(f"results[{len(results)} * step + {k}] = n{n.id}" for k, n in enumerate(results))
        lines.append(f"if ({self.sharing.cta} == 0 && thread() == 0) {outputs};")
        return lines

    def _reads_totals(self, phase: int, totals: Iterable[Node]) -> bool:
        """Return whether the work of every CTA in this phase needs these totals."""
        known = {n.id for n in totals}
        numbers = self.memory.schedule.numbers[phase]
        reads = [n for loop in self.memory.schedule.updates[phase].values() for n in loop.reads]
        if numbers is not None and any(n.id in known for n in numbers.reads):
            known |= {n.id for n in numbers.outputs}
        return any(n.id in known for n in reads)

    def _number_lines(self, phase: int) -> list[str]:
        loop = self.memory.schedule.numbers[phase]
        if loop is None:
            return []
        given = {n.id: f"s{n.id}" if n.dtype == SCALAR else f"n{n.id}" for n in loop.reads}
        recipe = self.memory.task.recipes[id(loop)]
        body, names = body_of(recipe, [given[n.id] for n in loop.reads])
        made = [f"n{n.id}" for n in loop.outputs]
        results = [f"{n} = {names[k]};" for n, k in zip(made, recipe.outputs, strict=True)]
        return [f"float {', '.join(made)};", "{", *(f"    {line}" for line in [*body, *results]), "}"]

    def _sum_over_parameters(self, k: int) -> list[str]:
        totals, before = self.memory.totals[k], len(self.memory.totals[0])
        count = len(totals)
        values = ", ".join(f"p{n.id}" for n in totals)
        return [
            f"const float part{k}[{count}] = {{{values}}};",
            f"total_of_cta<{count}>({self.sharing.totals_to(k, before, count)}, part{k}, parts{k});",
            self.sharing.sync,
            *self.sharing.totals(k, before, count, needed=True),
            *(f"const float n{n.id} = totals{k}[{m}];" for m, n in enumerate(totals)),
        ]

    def _position_loop(self, phase: int, *, last: bool) -> list[str]:
        loops = self.memory.schedule.updates[phase]
        first, stride = f"{self.sharing.cta} * THREADS + thread()", f"{self.sharing.ctas} * THREADS"
        lines = [f"for (int c = {first}; c < {self.memory.positions()}; c += {stride}) {{"]
        start = 0
        for name in self.memory.updated():
            count = self.memory.positions_of(name)
            lines.append(f"    if (c >= {start} && c < {start + count}) {{")
            lines += [f"        {line}" for line in self._update_one(phase, name, loops.get(name), start, last=last)]
            lines.append("    }")
            start += count
        return [*lines, "}"]

    def _update_one(self, phase: int, name: str, loop: Loop | None, start: int, *, last: bool) -> list[str]:
        node = self.memory.task.parameters[name]
        g = self.memory.gradient_of_parameter(name)
        weights = isinstance(g, WeightGradient)
        if isinstance(g, WeightGradient):
            rows, columns = self.memory.size(node, 0), self.memory.size(node, 1)
            s = g.split
            lines = [
                f"using G = {s.text};",
                f"const int i = G::row(c - {start}), j = G::column(c - {start});",
                f"if (i >= {rows} || j >= {columns}) continue;",
            ]
            key, base = g.product.node.id, self.memory.partial.offsets[f"product{g.product.node.id}"]
            shares, source, share = s.shares, f"G::first(partial + {base}, c - {start})", "G::GROUP"
        else:
            lines = [f"const int at = c - {start};"]
            key = g.values.node.id
            shares, share = self.memory.warps, str(g.columns)
            source = f"partial + {self.memory.partial.offsets[g.name]} + at"
        if phase == 0:
            lines.append(f"float g{key} = 0.f;")
            sum_of_share = self.sharing.gradient_sum(f"{source} + share * {share}", self.memory.partial.size)
            lines.append(f"for (int share = 0; share < {shares}; share++) g{key} += {sum_of_share};")
            if not last:
                lines.append(f"gradients[c] = g{key};")
        else:
            lines.append(f"const float g{key} = gradients[c];")
        if loop is None:
            return lines
        if weights and (last or any(n.op == "input" and n.dtype != SCALAR for n in loop.reads)):
            lines.append(f"const int at = i * {columns} + j;")
        given: dict[int, str] = {}
        for read in loop.reads:
            if read.op == "input" and read.dtype != SCALAR:
                given[read.id] = f"{self.sharing.array(self.memory.order.index(read.attribute))}[at]"
            elif read.id == key:
                given[read.id] = f"g{key}"
            else:
                given[read.id] = f"s{read.id}" if read.dtype == SCALAR else f"n{read.id}"
        recipe = self.memory.task.recipes[id(loop)]
        body, names = body_of(recipe, [given[n.id] for n in loop.reads])
        lines += body
        lines += [f"p{r.id} += {names[k]};" for r, (_, k, _) in zip(loop.reductions, recipe.reductions, strict=True)]
        if last:
            for written, k in zip(self.memory.schedule.written[name], recipe.outputs, strict=True):
                lines.append(f"const float new{self.memory.order.index(written)} = {names[k]};")
            for written in self.memory.schedule.written[name]:
                place = self.memory.order.index(written)
                lines.append(f"{self.sharing.array(place)}[at] = new{place};")
            if name in self.memory.schedule.written[name]:
                new = f"new{self.memory.order.index(name)}"
                if isinstance(g, WeightGradient) and name in self.memory.weights.offsets:
                    lines.append(self.sharing.new_weight(name, self.memory.weights.offsets[name], g.split.columns, new))
                elif any(bias.attribute == name for bias in self.memory.biases):
                    lines += self.sharing.new_bias(name, new)
        return lines
