"""Every public name of version 0.1 is still there, and takes the arguments that it took.

A name is public if README, ``docs/`` or the reference has it. The lists below are data, so that none of it goes away
without a line of this file going too: that is a decision, and belongs into the notes for users.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import gdkernels as gd

# By module, names with the parameters that can be given; "gd." stands for an attribute of `gdkernels` itself.
NAMES = {
    "gdkernels": """
        Adam(learning_rate, beta1, beta2, epsilon)
        Adam.beta1
        Adam.beta2
        Adam.epsilon
        Adam.learning_rate
        AdamW(learning_rate, beta1, beta2, epsilon, weight_decay)
        AdamW.beta1
        AdamW.beta2
        AdamW.epsilon
        AdamW.learning_rate
        BackendError
        DivergenceError
        FileError
        GdkernelsError
        History
        History.as_dict()
        History.effective_parameters
        LBFGS(memory, gradient_tolerance)
        LevenbergMarquardt(bayes, damping, gradient_tolerance, step_tolerance, error_goal)
        Solver
        solvers
        Trainer(solver)
        MLP.fit(solver)
        History.backend
        History.best_epoch
        History.device
        History.diverged
        History.gradient_norm
        History.learning_rate
        History.loss
        History.memory
        History.precision
        History.ranks
        History.samples_per_second
        History.seconds
        History.starts
        History.stopped
        History.validation_loss
        Ensemble(models)
        Ensemble.export_onnx(path, overwrite)
        Ensemble.load(path, backend, device, threads, objects)
        Ensemble.network()
        Ensemble.predict(X)
        Ensemble.predict_proba(X)
        Ensemble.save(path, overwrite)
        Ensemble.selected(models, X, Y, size, loss)
        History.epochs
        History.origin
        History.plan
        History.reason
        InputError
        Interrupted
        Layer(W, b)
        Layer.W
        Layer.b
        MLP(sizes, activation, output, bias, residual, norm, dropout, seed, backend, device, precision)
        Network(block, inputs, output, seed, backend, device, precision)
        Network.activations
        Network.block
        Network.export_onnx(path, overwrite)
        Network.fit(X, Y, epochs)
        Network.gradient(X, Y, loss, reduction)
        Network.inputs
        Network.loss(X, Y, loss, reduction)
        Network.parameters
        Network.predict(X)
        Network.save(path, overwrite)
        Network.set_parameters(parameters)
        Network.sizes
        Network.summary()
        Network.to(device, backend)
        blocks
        TabularPredictor(target, task, ignore, keep_columns, categorical, numeric, drop_missing, class_weight)
        TabularPredictor.describe(X, y)
        TabularPredictor.drift(X)
        TabularPredictor.drift_in_parts()
        TabularPredictor.evaluate(X, y, drop_missing, importance)
        TabularPredictor.export_onnx(path, overwrite)
        TabularPredictor.fit(X, y)
        TabularPredictor.get_params(deep)
        TabularPredictor.load(path, backend, device, objects)
        TabularPredictor.predict(X)
        TabularPredictor.predict_parts(X)
        TabularPredictor.predict_proba(X)
        TabularPredictor.prepared(X, y)
        TabularPredictor.save(path, overwrite)
        TabularPredictor.score(X, y)
        TabularPredictor.set_params(parameters)
        MLP(sizes, activation, output, bias, seed, backend, device, precision)
        MLP.backend
        MLP.device
        MLP.export_onnx(path, overwrite)
        MLP.fit(
            X, Y, epochs, optimizer, loss, batch_size, schedule, l2, l2_in_loss, clip_norm, reduction, sample_weight,
            validation, patience, starts, callbacks, metrics, stop_gradient_norm, gradient_norm, retries, checkpoint,
            every, keep, resume, progress)
        MLP.gradient(X, Y, loss, reduction)
        MLP.loss(X, Y, loss, reduction)
        MLP.parameter_count
        MLP.parameters
        MLP.precision
        MLP.predict(X)
        MLP.predict_proba(X)
        MLP.save(path, overwrite)
        MLP.set_parameters(parameters)
        MLP.to(device, backend)
        Optimizer
        Optimizer.rule(w, g, slots, learning_rate, t, xp)
        Optimizer.numbers
        Optimizer.slots
        Optimizer.weight_decay
        RMSprop(learning_rate, rho, epsilon)
        RMSprop.epsilon
        RMSprop.learning_rate
        RMSprop.rho
        SGD(learning_rate, momentum, nesterov)
        SGD.learning_rate
        SGD.momentum
        SGD.nesterov
        Stored(X, Y, sample_weight, memory)
        TraceError
        Trainer(mlp, optimizer, loss, batch_size, schedule, l2, l2_in_loss, clip_norm, reduction, order, group, shards)
        Trainer.epoch(X, Y, sample_weight)
        Trainer.fit(
            X, Y, epochs, sample_weight, validation, patience, callbacks, metrics, stop_gradient_norm, gradient_norm,
            retries, checkpoint, every, keep, resume, progress)
        __version__
        activations
        fit_many(
            models, X, Y, epochs, settings, rows, validation_rows, sample_weight, validation, patience, threads, group,
            checkpoint, every, resume, progress)
        from_sklearn(estimator, **settings)
        from_torch(path, activation, output, **settings)
        load(path, backend, device, objects)
        losses
        optimizers
        plots
        schedules
        tables
    """,
    "gd.activations": """
        ELU(alpha)
        ELU.alpha
        LeakyReLU(slope)
        LeakyReLU.slope
        elu
        exp(z, xp)
        gelu(z, xp)
        identity(z, xp)
        leaky_relu
        relu(z, xp)
        sigmoid(z, xp)
        silu(z, xp)
        softmax(z, xp)
        softplus(z, xp)
        tanh(z, xp)
    """,
    "gd.blocks": """
        Activated(block, activation)
        Block.__call__(p, a, xp, random)
        Block.constants(inputs)
        Block.outputs(inputs)
        Block.parameters(inputs)
        Block.widths(inputs)
        Columns(blocks, rest, names)
        Dense(units, activation, bias)
        Dropout(rate)
        Embedding(categories, width)
        Gated(units, activation, bias)
        InitialWeights(before)
        LayerNorm(epsilon, affine)
        Mean(*blocks)
        Parameter(shape, init, decays, trains)
        Periodic(frequencies, sigma)
        PiecewiseLinear(edges)
        PiecewiseLinear.of(X, bins)
        Residual(*blocks)
        Scale(initial)
        Sequential(*blocks)
        Block
    """,
    "gd.losses": """
        BinaryCrossEntropy()
        BinaryCrossEntropy.link
        CrossEntropy()
        CrossEntropy.link
        Huber(delta)
        Huber.delta
        Poisson()
        Poisson.link
        binary_cross_entropy
        cross_entropy
        huber
        mse(prediction, target, xp)
        poisson
        sse(prediction, target, xp)
    """,
    "gd.optimizers": "Adam AdamW Optimizer RMSprop SGD",
    "gd.schedules": """
        Constant(warmup)
        Constant.factor(epoch, epochs, losses)
        Constant.warmup
        Cosine(floor, warmup)
        Cosine.factor(epoch, epochs, losses)
        Cosine.floor
        Cosine.warmup
        Exponential(gamma, warmup)
        Exponential.factor(epoch, epochs, losses)
        Exponential.gamma
        Exponential.warmup
        InverseScaling(power, warmup)
        InverseScaling.factor(epoch, epochs, losses)
        InverseScaling.power
        InverseScaling.warmup
        ReduceOnPlateau(gamma, patience, threshold, warmup)
        ReduceOnPlateau.factor(epoch, epochs, losses)
        ReduceOnPlateau.gamma
        ReduceOnPlateau.patience
        ReduceOnPlateau.threshold
        ReduceOnPlateau.warmup
        Schedule(warmup)
        Schedule.factor(epoch, epochs, losses)
        Schedule.warmup
        Step(every, gamma, warmup)
        Step.every
        Step.factor(epoch, epochs, losses)
        Step.gamma
        Step.warmup
    """,
    "gdkernels.backend": """
        CONTRACT
        Program
        Backend
        Backend.asarray(x, dtype, device)
        Backend.choices()
        Backend.compile(program, plan)
        Backend.compiles_drawing
        Backend.compiles_moving
        Backend.compiles_weighted
        Backend.devices()
        Backend.expected()
        Backend.for_layers(flops, longest)
        Backend.for_products(flops)
        Backend.lacks(precision)
        Backend.memory(device)
        Backend.on_device(device)
        Backend.owns(x)
        Backend.precisions
        Backend.priority
        Backend.synchronize(device)
        Backend.threads(device)
        Backend.to_numpy(x)
        Backend.unavailable()
        Backend.why(program, plan, widths)
        Backend.xp
        Executable
        Executable.predict(parameters, x)
        Executable.run(state, x, y, order, batch_size, learning_rates, sample_weight)
        Executable.run_epochs(state, x, y, orders, batch_size, learning_rates, sample_weight)
        Executable.run_many(jobs, threads)
        Job(executable, state, x, y, orders, batch_size, learning_rates, sample_weight)
        Job.run()
        Executable.workspace(batch_size)
        PRECISIONS
        Plan(backend, device, precision, choices)
        Plan.as_dict()
        Plan.unlike(other)
        Plan.backend
        Plan.choices
        Plan.device
        Plan.precision
        State(parameters, slots, step)
        State.copy(xp)
        State.step
        State.parameters
        State.slots
        host_array(x, dtype)
        storage_dtype(precision)
    """,
    "gdkernels.estimators": """
        GridSearchCV(estimator, param_grid, scoring, n_jobs, refit, cv)
        RandomizedSearchCV(estimator, param_distributions, n_iter, scoring, n_jobs, refit, cv)
        MLPClassifier(
            hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t,
            max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping,
            validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun, loss, class_weight, scoring,
            callbacks, progress, backend, device, precision)
        MLPClassifier.fit(X, y, sample_weight, X_val, y_val)
        MLPClassifier.partial_fit(X, y, sample_weight, classes)
        MLPClassifier.predict(X)
        MLPClassifier.predict_log_proba(X)
        MLPClassifier.predict_proba(X)
        MLPClassifier.score(X, y, sample_weight)
        MLPRegressor(
            loss, hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init,
            power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum,
            early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun, scoring,
            callbacks, progress, backend, device, precision)
        MLPRegressor.fit(X, y, sample_weight, X_val, y_val)
        MLPRegressor.partial_fit(X, y, sample_weight)
        MLPRegressor.predict(X)
        MLPRegressor.score(X, y, sample_weight)
    """,
    "gdkernels.testing": """
        BackendConformance
        BackendConformance.backend
        BackendConformance.epochs
    """,
    "gdkernels.tables": """
        BUILT_IN
        Preparation
        Preparation.classes
        Preparation.describe()
        Preparation.features
        Preparation.fit(table, target, task, rows, ignore, keep, categorical, numeric, standardise_targets)
        Preparation.from_json(value)
        Preparation.inputs
        Preparation.restore(outputs)
        Preparation.target_values(table)
        Preparation.targets
        Preparation.to_json()
        Preparation.transform(table)
        Preparation.transform_targets(table)
        Preparation.columns
        Preparation.outcome
        Preparation.scaling
        Preparation.task
        Table
        Table.first
        Table.names
        Table.of(columns, source)
        Table.place(row, name)
        Table.source
        Table.take(rows)
        Table.targets
        Table.columns
        Text
        Text.lookup(values, missing)
        Text.numbers()
        Text.take(rows)
        Text.codes
        Text.levels
        folds(n, count, generator, labels)
        parts(data, records)
        read(data, progress)
        split(n, share, generator, labels)
        task_of(table, targets)
    """,
    "gdkernels.plots": """
        Landscape(mlp, X, Y, loss)
        Landscape.error(layers)
        Landscape.errors(parameters, values, at)
        Landscape.gradient(layers)
        Landscape.slopes(parameters, values, at)
        Path(mlp)
        Path.along(*parameters)
        confusion_matrix(counts, labels, ax)
        error_over_weight(landscape, parameter, path, limits, points, label, ax)
        error_surface(landscape, parameters, path, limits, points, labels, ax)
        error_surface_3d(landscape, parameters, path, limits, points, labels, ax)
        fitted_curve(predict, X, Y, x, y, ax)
        gradients_by_layer(mlp, X, Y, loss, ax)
        loss_curves(history, ax)
        panels(rows, columns, projections)
        predicted_against_true(true, predicted, name, ax)
        residuals(true, predicted, name, ax)
        several_starts(landscape, parameter, paths, limits, points, label, ax)
        throughput(samples_per_second, size, ax)
        weights_by_layer(mlp, ax)
    """,
    "gdkernels.plots.examples": """
        Descent(mlp, X, Y, loss)
        Descent.go(optimizer, steps)
        curve(hidden, seed)
        line(start, seed)
        one_weight(start)
        wave(start, seed)
    """,
    "gdkernels.groups": """
        Group
        Group.abort(code)
        Group.all_gather(send, got, received)
        Group.all_stop_here(seconds)
        Group.all_to_all(send, sent, got, received)
        Group.any(flag)
        Group.barrier()
        Group.broadcast(data, source)
        Group.carry_messages(sent, got)
        Group.carry_repeatedly(sent, got)
        Group.carry_to_all(send, got, received)
        Group.carry_to_each(send, sent, got, received)
        Group.exchange(sent, got)
        Group.gather_bytes(data)
        Group.gather_json(told)
        Group.gather_numbers(numbers, dtype)
        Group.one_call()
        Group.repeated(sent, got)
        Group.unavailable()
        SerialGroup()
        TreeSum(group, shards, length, dtype, totals)
        TreeSum.add(shard, vector, totals)
        TreeSum.exchanged(into)
        joined(group)
        rows_of_shard(shard, shards, rows)
        shards_of_rank(rank, ranks, shards)
    """,
    "gdkernels.graph": """
        COMPARISONS
        Cost
        Dim
        ELEMENTWISE
        Graph
        Node
        Shape
        cost(outputs, sizes, itemsize)
        detach(a)
        forget_traces()
        interpret(outputs, inputs, xp)
        remembered(maxsize)
        returned(value, f, shape, rule)
        topological(*outputs)
        trace(f, ranks, elementwise)
        value_and_derivative(f)
        value_and_pullback(f, elementwise)
        value_and_pullbacks(f, wrt, per_record)
        vjp(output, wrt, cotangent)
        vjps(output, wrt, cotangent)
    """,
    "gdkernels.logs": """
        JsonLines(fmt, datefmt, style, validate, defaults)
        JsonLines.format(record)
    """,
    "gdkernels.training.history": """
        Epoch
        Epoch.gradient_norm
        Epoch.watched
        Epoch.learning_rate
        Epoch.loss
        Epoch.metrics
        Epoch.number
        Epoch.samples_per_second
        Epoch.seconds
        Epoch.validation_loss
        Start
        Start.epochs
        Start.loss
        Start.number
        Start.stopped
    """,
    "gdkernels.bench.results": """
        read(path)
    """,
    "gdkernels.cli": """
        main(arguments)
    """,
}

# What the objects have beyond their classes.
ATTRIBUTES = {
    "MLP": "sizes activations output bias seed extra backend device precision parameters parameter_count",
    "Trainer": "mlp",
    "MLPRegressor": "coefs_ intercepts_ loss_ best_loss_ loss_curve_ n_iter_ t_ n_layers_ n_outputs_ out_activation_",
    "MLPClassifier": "classes_ coefs_ intercepts_ loss_ loss_curve_ n_iter_ n_features_in_",
}

ENTRY = re.compile(r"([\w.]+)(?:\(([^)]*)\))?")


def listed() -> Iterator[tuple[str, str, str | None]]:
    for module, text in NAMES.items():
        for name, parameters in ENTRY.findall(text):
            yield module, name, parameters or None


def module_of(name: str) -> Any:
    return getattr(gd, name.removeprefix("gd.")) if name.startswith("gd.") else importlib.import_module(name)


def has(value: Any, name: str) -> bool:
    """Return whether objects of a class have an attribute; fields of dataclasses may have no default."""
    return hasattr(value, name) or name in getattr(value, "__dataclass_fields__", ())


@pytest.mark.parametrize("module", NAMES)
def test_every_name_is_there(module: str) -> None:
    if "estimators" in module:
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    if "plots" in module:
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    problems = []
    for where, name, parameters in listed():
        if where != module:
            continue
        value = module_of(module)
        *owners, last = name.split(".")
        for owner in owners:
            value = getattr(value, owner)
        if not has(value, last):
            problems.append(f"{module} has no {name}")
        elif parameters is not None:
            found = inspect.signature(getattr(value, last)).parameters
            wanted = re.findall(r"\w+", parameters)
            problems += [f"{module}.{name} takes no {p}" for p in wanted if p not in found]
    assert not problems


def test_all_that_is_offered_is_listed() -> None:
    """A new name belongs into the list from its first day."""
    for module in NAMES:
        offered = getattr(module_of(module), "__all__", ())
        if module in ("gdkernels.bench.results", "gdkernels.training.history"):
            continue  # of which a part is public
        assert set(offered) <= {name for where, name, _ in listed() if where == module}, module


def test_every_attribute_is_there() -> None:
    mlp = gd.MLP([2, 3, 1], seed=0, backend="numpy")
    made: dict[str, Any] = {"MLP": mlp, "Trainer": gd.Trainer(mlp)}
    if importlib.util.find_spec("sklearn") is not None:
        from gdkernels.estimators import MLPClassifier, MLPRegressor

        x, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
        for kind in (MLPClassifier, MLPRegressor):
            made[kind.__name__] = kind(hidden_layer_sizes=(2,), max_iter=2, tol=0, n_iter_no_change=9, backend="numpy")
            with warnings.catch_warnings(action="ignore"):  # two epochs are few
                made[kind.__name__].fit(x, y)
    for name, value in made.items():
        assert [a for a in ATTRIBUTES[name].split() if not hasattr(value, a)] == [], name
