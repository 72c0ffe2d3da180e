"""Networks of blocks beside jax, torch and plain networks: samples/s side by side, and the error against float64.

``python -m benchmarks.blocks`` trains each network by plain descent on the sum of squared errors, in float32. jax and
torch run the same blocks on their own namespaces, and differentiate them themselves. jax has gather, step and update in
one compiled scan; torch.compile has those of a step in one graph. The plain network is a chain of dense layers with
about as many FLOPs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.backend import Plan, State
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.backend.verification import reference, relative_error, start
from gdkernels.bench.sampling.interleaving import SamplingLimit, interleave
from gdkernels.bench.sampling.statistics import interval
from gdkernels.definition import losses
from gdkernels.definition.blocks import Block, Dense, Dropout, Gated, LayerNorm, Residual, Sequential
from gdkernels.definition.blocks.block import initial_values
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.dispatch import registry
from gdkernels.randomness import RandomNumbers, row_keys
from gdkernels.system.machine import machine

RATE, CHECKED = 1e-3, 4  # steps of the comparison with float64


def _networks() -> dict[str, tuple[Block, Block, int, int]]:
    """Return by name the network, the plain one beside it, its inputs and its batch."""
    skip = Residual(LayerNorm(), Dense(128, "relu"))
    residual = Sequential(Dense(128, "relu"), *[skip] * 5, LayerNorm(), Dense(10))
    plain = Sequential(*[Dense(128, "relu")] * 6, Dense(10))
    gated = Sequential(*[Gated(256)] * 3, Dense(10))
    wide = Sequential(*[Dense(512, "relu"), Dense(256, "relu")] * 2, Dense(256, "relu"), Dense(10))
    dropped = Sequential(*[Dense(512, "relu"), Dropout(0.1)] * 2, Dense(10))
    return {
        "residual pre-norm 128-128×6-10, batch 256": (residual, plain, 128, 256),
        "gated 256-256×3-10, batch 1024": (gated, wide, 256, 1024),
        "dropout 0.1, 512-512-512-10, batch 256": (dropped, Sequential(*[Dense(512, "relu")] * 2, Dense(10)), 512, 256),
    }


def _program(block: Block, inputs: int) -> Program:
    return Program(block, inputs, Objective(losses.sse), SGD(RATE))


def flops(program: Program) -> int:
    """Return the FLOPs of the products for a record: forward and twice back."""
    return 6 * sum(int(np.prod(p.shape)) for p in program.parameters.values() if len(p.shape) == 2)


class Ours:
    """A network on a backend of gdkernels."""

    def __init__(self, block: Block, inputs: int, batch: int, records: int) -> None:
        self.program, self.batch = _program(block, inputs), batch
        random = np.random.default_rng(0)
        drawn = initial_values(self.program.parameters, np.random.default_rng(1))
        self.begin = {name: a.astype(np.float32) for name, a in drawn.items()}
        self.x = random.standard_normal((records, inputs), dtype=np.float32)
        self.y = random.standard_normal((records, self.program.outputs), dtype=np.float32)
        self.random = random
        backend = registry.get("numba")
        self.executable = bind(backend, self.program, Plan("numba", "cpu", "float32"))
        self.state: State = start(self.program, self.begin, np.array)

    def train(self, order: Any) -> dict[str, Any]:
        rates = np.full(-(-len(order) // self.batch), RATE)
        self.executable.run(self.state, self.x, self.y, order, self.batch, rates)
        return self.state.parameters

    def restart(self) -> None:
        self.state = start(self.program, self.begin, np.array)

    def keys(self, order: Any) -> Any:
        """Return the keys of the random numbers [steps, batch] of some records, from the first step on."""
        return row_keys(0, 0, len(order), self.batch).reshape(-1, self.batch)


class Jax:
    """The same block on jax's namespace: one jitted scan over the batches of an epoch."""

    state: dict[str, Any]

    def __init__(self, ours: Ours) -> None:
        import jax
        import jax.numpy as jnp

        program, x, y = ours.program, jnp.asarray(ours.x), jnp.asarray(ours.y)
        self.ours = ours
        self.restart()

        def error(trained: Any, constants: Any, rows: Any, keys: Any) -> Any:
            random = RandomNumbers(keys) if program.draws else None
            found = program.block(trained | constants, x[rows], xp=jnp, random=random)
            return jnp.sum(losses.sse(found, y[rows], xp=jnp)) / rows.shape[0]

        def run(parameters: Any, batches: Any, keys: Any) -> Any:
            constants = {name: a for name, a in parameters.items() if name not in program.trained}

            def step(p: Any, given: Any) -> Any:
                value, slopes = jax.value_and_grad(error)(p, constants, *given)
                return jax.tree.map(lambda w, g: w - RATE * g, p, slopes), value

            trained, values = jax.lax.scan(step, {n: parameters[n] for n in program.trained}, (batches, keys))
            return trained | constants, values

        self._run = jax.jit(run)

    def train(self, order: Any) -> dict[str, Any]:
        keys = self.ours.keys(order)
        self.state, values = self._run(self.state, order.reshape(keys.shape), keys)
        values.block_until_ready()
        return {name: np.asarray(a) for name, a in self.state.items()}

    def restart(self) -> None:
        import jax.numpy as jnp

        self.state = {name: jnp.asarray(a) for name, a in self.ours.begin.items()}


class Torch:
    """The same block on torch's namespace: one compiled graph a step."""

    _trained: dict[str, Any]
    _constants: dict[str, Any]

    def __init__(self, ours: Ours) -> None:
        import torch
        from array_api_compat import torch as xp

        program = ours.program
        self.ours, self._torch = ours, torch
        self._x, self._y = torch.from_numpy(ours.x), torch.from_numpy(ours.y)
        self.restart()

        def error(trained: Any, constants: Any, x: Any, y: Any, keys: Any) -> Any:
            random = RandomNumbers(keys) if program.draws else None
            found = program.block(trained | constants, x, xp=xp, random=random)
            return torch.sum(losses.sse(found, y, xp=xp)) / x.shape[0]

        def step(trained: Any, constants: Any, rows: Any, keys: Any) -> Any:
            slopes = torch.func.grad(error)(trained, constants, self._x[rows], self._y[rows], keys)
            return {name: w - RATE * slopes[name] for name, w in trained.items()}

        self._step = torch.compile(step)

    def train(self, order: Any) -> dict[str, Any]:
        keys = self.ours.keys(order)
        given = self._torch.from_numpy(order.reshape(keys.shape)), self._torch.from_numpy(keys)
        for rows, of_rows in zip(*given, strict=True):
            self._trained = self._step(self._trained, self._constants, rows, of_rows)
        return {name: a.numpy() for name, a in (self._trained | self._constants).items()}

    def restart(self) -> None:
        parameters = {name: self._torch.from_numpy(a.copy()) for name, a in self.ours.begin.items()}
        self._trained = {name: parameters[name] for name in self.ours.program.trained}
        self._constants = {name: a for name, a in parameters.items() if name not in self._trained}


PEERS = {"jax": Jax, "torch": Torch}


def off(ours: Ours, train: Callable[[Any], dict[str, Any]]) -> float:
    """Return the largest relative error of what some steps add to a parameter, against the definition in float64."""
    order = np.arange(CHECKED * ours.batch)
    rates = np.full(CHECKED, RATE)
    exact = reference(ours.program, ours.begin, ours.x, ours.y, order, ours.batch, rates)[1].parameters
    found = {name: np.array(a) for name, a in train(order).items()}
    return max(relative_error(found[n].astype(np.float64) - a, exact[n] - a) for n, a in ours.begin.items())


def _epoch(participant: Any, records: int) -> float:
    """Return the seconds of an epoch."""
    order = np.random.default_rng(2).permutation(records)
    began = time.perf_counter()
    participant.train(order)
    return time.perf_counter() - began


def measure(seconds: float) -> list[dict[str, Any]]:
    """Return a row for each network."""
    rows = []
    for name, (block, plain, inputs, batch) in _networks().items():
        records = 8 * batch if batch >= 1024 else 16384
        ours = Ours(block, inputs, batch, records)
        participants: dict[str, Any] = {"ours": ours, "ours, plain": Ours(plain, inputs, batch, records)}
        for who, peer in PEERS.items():
            try:
                participants[who] = peer(ours)
            except ImportError as error:
                print(f"without {who}: {error}")
        errors = {who: off(c if isinstance(c, Ours) else ours, c.train) for who, c in participants.items()}
        for participant in participants.values():
            participant.restart()
        times = interleave(
            {who: partial(_epoch, participant, records) for who, participant in participants.items()},
            SamplingLimit(0.01, seconds),
            library=lambda who: who in PEERS,
        )
        rates = {who: records / float(np.median(t)) for who, t in times.items()}
        ratios = {
            who: float(np.median(np.asarray(times[who]) / np.asarray(times["ours"]))) for who in times if who != "ours"
        }
        bounds = {who: interval(np.asarray(times[who]) / np.asarray(times["ours"])) for who in ratios}
        work = {who: flops(p.program if isinstance(p, Ours) else ours.program) for who, p in participants.items()}
        rows.append(
            {"network": name, "records/s": rates, "ratio": ratios, "95 %": bounds, "error": errors, "flops": work}
        )
        print(name)
        for who, rate in rates.items():
            ratio = "" if who == "ours" else f", ours {ratios[who]:.2f} × [{bounds[who][0]:.2f}, {bounds[who][1]:.2f}]"
            print(f"  {who:12s} {rate:12,.0f} records/s, error {errors[who]:.1e}, {work[who]:,} FLOPs a record{ratio}")
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and perhaps write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocks", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of sampling for each network (%(default)g)")
    parser.add_argument("--out", type=Path, help="where to write the rows as JSON")
    options = parser.parse_args(arguments)
    rows = measure(options.seconds)
    if options.out is not None:
        options.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
