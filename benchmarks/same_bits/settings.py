"""The settings that are trained: backends, precisions, threads, optimizers, losses, data in files, and raw tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SETTINGS", "Setting"]


@dataclass(frozen=True)
class Setting:
    """One training.

    Attributes
    ----------
    how
        The function that does it, of `trainings.TRAININGS`.
    network, trainer, run
        The arguments of `gdkernels.MLP`, `gdkernels.Trainer` and its fit; or of an estimator, its fit and nothing.
        Values that are not built in have names, which `own_functions.objects_of` knows.
    records
        Their number.
    threads
        The number that each library may use.
    """

    name: str
    how: str = "fit"
    network: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    records: int = 600
    threads: int = 1


def net(backend: str, *sizes: int, **more: Any) -> dict[str, Any]:
    return {"sizes": list(sizes), "backend": backend, "seed": 5, **more}


def both(name: str, *sizes: int, network: Mapping[str, Any] | None = None, **more: Any) -> Iterator[Setting]:
    """Yield a setting for each of the backends that run on a CPU."""
    for backend in ("numpy", "numba"):
        yield Setting(f"{backend}, {name}", network=net(backend, *sizes, **(network or {})), **more)


def sgd(**more: Any) -> dict[str, Any]:
    return {"class": "SGD", **more}


EPOCHS = {"epochs": 3}
STOPPING = {"epochs": 30, "validation": 0.2, "patience": 2, "metrics": ["r2"], "gradient_norm": True}

SETTINGS: tuple[Setting, ...] = (
    # Plain networks: each backend, each precision, batches that come out even and others.
    *both("relu, Adam, ragged", 8, 32, 32, 2, trainer={"batch_size": 64}, run=EPOCHS),
    *both("float64", 8, 24, 3, network={"precision": "float64", "activation": "tanh"}, run=EPOCHS),
    *both("batches of one", 4, 6, 1, trainer={"batch_size": 1, "optimizer": "sgd"}, run=EPOCHS, records=150),
    *both("width one", 1, 1, 1, 1, network={"activation": "gelu"}, trainer={"batch_size": 7}, run=EPOCHS),
    *both("no hidden layer, no bias", 5, 2, network={"bias": False}, trainer={"loss": "mse"}, run=EPOCHS),
    Setting("numba, bfloat16", network=net("numba", 32, 64, 64, 4, precision="bfloat16"), run=EPOCHS),
    Setting("numpy, tf32", network=net("numpy", 8, 16, 1, precision="tf32"), run=EPOCHS),
    # Optimizers.
    *both("momentum", 8, 16, 1, trainer={"optimizer": sgd(momentum=0.9)}, run=EPOCHS),
    *both("Nesterov", 8, 16, 1, trainer={"optimizer": sgd(momentum=0.8, nesterov=True)}, run=EPOCHS),
    *both("RMSprop", 8, 16, 1, trainer={"optimizer": "rmsprop", "l2": 0.01}, run=EPOCHS),
    *both("AdamW, cosine", 8, 16, 1, trainer={"optimizer": "adamw", "schedule": "cosine"}, run=EPOCHS),
    *both("an optimizer of one's own", 8, 16, 1, trainer={"optimizer": {"class": "Lion"}}, run=EPOCHS),
    # Activations and losses.
    *both(
        "an activation and a loss of one's own", 8, 20, 20, 2,
        network={"activation": {"function": "mish"}}, trainer={"loss": {"function": "cauchy"}}, run=EPOCHS,
    ),
    *both(
        "many activations", 8, 12, 12, 12, 12, 12, 1,
        network={"activation": ["silu", "elu", "softplus", "sigmoid", "leaky_relu"]},
        trainer={"loss": "huber", "clip_norm": 0.5}, run={"epochs": 3, "gradient_norm": True},
    ),
    *both(
        "cross-entropy, weights of records", 8, 24, 4,
        trainer={"loss": "cross_entropy", "batch_size": 50}, run={"epochs": 3, "sample_weight": True},
    ),
    *both("two classes", 8, 24, 1, trainer={"loss": "binary_cross_entropy"}, run=EPOCHS),
    *both("poisson, sums", 8, 12, 1,
          trainer={"loss": "poisson", "reduction": "sum", "optimizer": sgd(learning_rate=1e-4)}, run=EPOCHS),
    *both("softmax within", 8, 12, 3, network={"activation": "softmax", "output": "softmax"}, run=EPOCHS),
    # The course of a fit.
    *both("validation and patience", 8, 40, 1, run=STOPPING,
          trainer={"schedule": "reduce_on_plateau", "optimizer": {"class": "Adam", "learning_rate": 0.1}}),
    *both("the penalty in the loss", 8, 16, 1, trainer={"l2": 0.1, "l2_in_loss": True, "schedule": "step"}, run=EPOCHS),
    *both("divergence and retries", 8, 16, 1, trainer={"optimizer": sgd(learning_rate=9.0)},
          run={"epochs": 4, "retries": 12}),
    *both("several starts", 8, 6, 1, run={"epochs": 3, "starts": 2, "validation": 0.2}, how="starts"),
    *both("single epochs in an order of one's own", 8, 16, 1, trainer={"schedule": "exponential"}, how="epochs"),
    *both("batches as they come", 8, 16, 1, run={"epochs": 2}, how="batches"),
    *both("files, in windows", 8, 16, 1, trainer={"batch_size": 32}, run={"epochs": 2, "validation": 0.1}, how="stored",
          records=3000),
    *both("batches in parts", 8, 16, 1, trainer={"batch_size": 100, "clip_norm": 1.0}, how="parts"),
    *both("stopped and gone on", 8, 16, 1, trainer={"schedule": "inverse_scaling", "batch_size": 60}, how="resumed"),
    # What decides how the CPU engine cuts up a step; large products of BLAS.
    *both("wide", 300, 500, 300, trainer={"batch_size": 256}, run={"epochs": 2}, threads=2),
    *both("wide, few rows", 300, 700, 10, trainer={"batch_size": 24}, run={"epochs": 1}, records=240, threads=2),
    *both("narrow, many rows", 32, 64, 64, 1, trainer={"batch_size": 512}, run=EPOCHS, records=2500, threads=2),
    Setting("numba, narrow, many rows, one thread", network=net("numba", 32, 64, 64, 1),
            trainer={"batch_size": 2048}, run=EPOCHS, records=2500),
    Setting("numba, wide, one thread", network=net("numba", 200, 400, 200),
            trainer={"batch_size": 8}, run={"epochs": 1}),
    Setting("numba, float64, two threads", network=net("numba", 64, 128, 128, 10, precision="float64"),
            trainer={"batch_size": 500}, run=EPOCHS, records=1200, threads=2),
    Setting("numba, norms, two threads", network=net("numba", 64, 128, 10, activation="gelu"),
            trainer={"batch_size": 300, "clip_norm": 0.1}, run={"epochs": 2, "gradient_norm": True}, threads=2),
    Setting("numba, weights, two threads", network=net("numba", 64, 96, 96, 2, activation="tanh"),
            trainer={"batch_size": 200}, run={"epochs": 2, "sample_weight": True}, threads=2),
    # scikit-learn's interface.
    Setting("MLPRegressor, adam", "regressor", {"hidden_layer_sizes": [16], "backend": "numba", "max_iter": 5}),
    Setting("MLPRegressor, lbfgs", "regressor",
            {"hidden_layer_sizes": [8], "solver": "lbfgs", "backend": "numpy", "max_iter": 15, "activation": "tanh"}),
    Setting("MLPRegressor, lbfgs, numba", "regressor",
            {"hidden_layer_sizes": [8], "solver": "lbfgs", "backend": "numba", "max_iter": 15}),
    Setting("MLPRegressor, sgd, adaptive", "regressor",
            {"hidden_layer_sizes": [8, 8], "solver": "sgd", "learning_rate": "adaptive", "backend": "numpy",
             "max_iter": 10, "early_stopping": True}),
    Setting("MLPClassifier, adam", "classifier",
            {"hidden_layer_sizes": [16], "backend": "numpy", "max_iter": 5, "class_weight": "balanced"}),
    Setting("MLPClassifier, lbfgs", "classifier",
            {"hidden_layer_sizes": [8], "solver": "lbfgs", "backend": "numba",
             "max_iter": 15, "activation": "logistic"}),
    Setting("MLPClassifier, part after part", "partly",
            {"hidden_layer_sizes": [8], "solver": "sgd", "backend": "numba"}),
    # From a raw table, by the command line.
    Setting("a table, numbers", "table", {"backend": "numpy"}, run={"target": "price"}, records=200),
    Setting("a table, classes", "table", {"backend": "numba"}, run={"target": "kind"}, records=200),
    Setting("a table, in windows", "table", {"backend": "numpy"},
            run={"target": "price", "memory": "1MB"}, records=800),
)  # fmt: skip
