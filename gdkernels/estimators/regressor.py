"""The regressor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from gdkernels import metrics
from gdkernels.backend import Backend
from gdkernels.definition.activations import Activation
from gdkernels.definition.blocks import Block
from gdkernels.definition.losses import Loss, link_of
from gdkernels.definition.naming import names, resolve
from gdkernels.definition.solvers import Solver
from gdkernels.dispatch.binding import namespace_of
from gdkernels.estimators.base import BaseMLP
from gdkernels.estimators.inputs import Given, checked_records, checked_weights
from gdkernels.estimators.parameters import CONSTRAINTS, check_solver, keep_parameters, pair
from gdkernels.groups import Group

__all__ = ["MLPRegressor"]


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron that predicts numbers, with the parameters of scikit-learn's and gdkernels' backends.

    With the same parameters and `random_state`, it takes the steps of ``sklearn.neural_network.MLPRegressor``, from the
    same initial weights, over the same batches.

    Parameters
    ----------
    loss
        "squared_error" or "poisson", as in scikit-learn; any other loss of gdkernels, such as "huber"; or a function
        ``loss(prediction, target, *, xp)`` of arrays [records, outputs] that returns one number per record.
    hidden_layer_sizes, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, \
random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, \
beta_2, epsilon, n_iter_no_change, max_fun
        As in scikit-learn.
    activation
        "identity", "logistic", "tanh", "relu", any other activation of gdkernels, or a function ``f(z, *, xp)``; or a
        list with one of these for each hidden layer.
    scoring
        What early stopping watches on the validation data: None for R², "loss" for the loss, or a scorer's name or
        function as `sklearn.model_selection.cross_val_score` takes.
    callbacks
        Functions of the `gdkernels.training.history.Epoch` just done; one that returns True ends training.
    progress
        Whether to show a bar; None shows it on a terminal.
    backend, device, precision
        Where to compute, as for `gdkernels.MLP`. Without a `precision`, what comes out has the type that it has in
        scikit-learn: float32 where the X of the first fit and that of the prediction are, else float64.
    network
        A block, of `gdkernels.blocks` or your own: everything before the output layer. The estimator adds a dense layer
        with as many units as there are outputs. None is dense layers by `hidden_layer_sizes` and `activation`, which,
        like `residual`, `norm` and `dropout`, stay at their defaults beside a `network`.
    residual, norm, dropout
        What stands around the hidden layers, as for `gdkernels.MLP`: skip connections, "layer" for layer norm, and the
        share of their outputs that training drops.
    threads
        The most threads to compute on, as for `gdkernels.MLP`.
    group, shards
        The processes that train together by "adam" or "sgd", and the shards of each batch, as for `gdkernels.Trainer`;
        `random_state` must be a number then.

    Attributes
    ----------
    coefs_, intercepts_
        The weights and the biases of each layer, arrays of the kind of X, where X is. A network that is no chain of
        dense layers has no such, and no `n_layers_`.
    parameters_
        All the arrays of a network of any shape, by name.
    loss_curve_, validation_loss_curve_
        The loss of each epoch, measured on the way and with the penalty; and on the validation data, without it.
    n_iter_, t_, loss_, best_loss_, validation_scores_, best_validation_score_, n_layers_, n_outputs_, \
out_activation_, n_features_in_, feature_names_in_
        As in scikit-learn. An epoch in which training diverged counts, with a loss and a score of NaN.

    Notes
    -----
    A network made by `network`, `residual`, `norm` or `dropout` starts from the initial values that its blocks state,
    drawn by `random_state`, and not from scikit-learn's.

    When loss or parameters stop being finite, training ends with a `ConvergenceWarning`, and the parameters are those
    of the last epoch at whose end they were finite.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "loss": [StrOptions({"squared_error", *names("loss")} - {"cross_entropy", "binary_cross_entropy"}), callable],
    }

    def __init__(
        self,
        loss: str | Loss = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: Any = "relu",
        *,
        solver: str | Solver = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        scoring: str | Callable[..., float] | None = None,
        callbacks: Sequence[Callable[..., Any]] | None = None,
        progress: bool | None = False,
        backend: str | Backend = "auto",
        device: str | None = None,
        precision: str | None = None,
        network: Block | None = None,
        residual: bool = False,
        norm: str | None = None,
        dropout: float = 0.0,
        threads: int | None = None,
        group: str | Group | None = None,
        shards: int | None = None,
    ) -> None:
        keep_parameters(self, locals())

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on X [records, features] and y [records] or [records, outputs], and return self.

        Parameters
        ----------
        X, y
            Arrays of any library that speaks the Array API or DLPack, frames, lists; X may be sparse, and is made
            dense a few rows at a time. Without y, X is a list of batches (X, y) or (X, y, sample_weight), or a function
            that returns an iterator over them for each epoch; each is used as it comes, one step each.
        sample_weight
            [records]: how much each counts.
        X_val, y_val
            Validation data of one's own: they are measured after each epoch, and early stopping watches them.

        Raises
        ------
        ValueError
            For parameters and data that cannot be used.
        """
        return self._fit(X, y, sample_weight, pair(X_val, y_val))

    @available_if(check_solver)  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Do one epoch on these records, from where training stands, and return self."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """Return the predictions [records] or [records, outputs], in the place of X."""
        output = self._linked(self._outputs(X))
        return output[:, 0] if output.shape[1] == 1 else output

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the R² of the predictions, the mean of it over the outputs."""
        if namespace_of(X) is not None:
            return self._score_there(X, y, sample_weight)
        return float(super().score(X, y, sample_weight))

    # ---- what the base asks for

    def _metric(self, target: Any, output: Any, *weights: Any) -> float:
        return metrics.r2(target, output, *weights)

    def _given(self, X: Any, y: Any, sample_weight: Any, *, first: bool, incremental: bool = False) -> Given:
        X, y = checked_records(self, X, y, reset=first, numeric=True)
        return Given(X, y, y[:, None] if y.ndim == 1 else y, checked_weights(X, sample_weight))

    def _judged(self, X: Any, y: Any, sample_weight: Any = None) -> Given:
        return self._given(X, y, sample_weight, first=False)

    def _objective(self) -> Loss:
        loss: Loss = resolve("loss", "sse" if self.loss == "squared_error" else self.loss)
        return loss

    def _output(self) -> Activation:
        return link_of(self._objective())

    @property
    def _loss_scale(self) -> int:
        return int(self.n_outputs_) if self.loss == "squared_error" else 1  # a mean over the outputs, in scikit-learn
