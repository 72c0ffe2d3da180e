"""The base of the two estimators: their parameters, and how a fit becomes a network and a trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from gdkernels.backend import Backend, storage_dtype
from gdkernels.definition.activations import Activation
from gdkernels.definition.losses import Loss
from gdkernels.definition.naming import describe
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.solvers import Solver
from gdkernels.estimators.arrays import OfChains, arrays_by_name, has_arrays, keep_arrays, on_host, one_array
from gdkernels.estimators.descend import descend
from gdkernels.estimators.figures import reset_figures, watch
from gdkernels.estimators.fitted_network import FittedNetwork
from gdkernels.estimators.inputs import Given, Passes, checked_inputs, is_source, rows_of
from gdkernels.estimators.kept_network import (
    check_goes_on,
    fitted_network,
    forget_carried,
    forget_network,
    keep_seed,
    keep_structure,
    model_of_arrays,
    picklable,
)
from gdkernels.estimators.lbfgs import fit_by_lbfgs
from gdkernels.estimators.outputs import hidden_outputs, linked, raw_outputs, score_of
from gdkernels.estimators.parameters import CONSTRAINTS, check_numbers, check_ranks, is_stochastic, solver_name
from gdkernels.estimators.precision import as_wide_as, float_type, training_precision
from gdkernels.estimators.problem import PresentRate, Problem, Stall
from gdkernels.estimators.rules import optimizer_of
from gdkernels.estimators.shape import asks_for_blocks, check_hidden, initial_chain, structure_of
from gdkernels.estimators.solve import fit_by_solver
from gdkernels.groups import Group
from gdkernels.models.network import Network
from gdkernels.network import BoundNetwork
from gdkernels.system.hushed_logs import hushed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gdkernels.definition.blocks import Block

__all__ = ["BaseMLP"]


_NAMES: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()  # of parameters, by the class


class BaseMLP(BaseEstimator, ABC):  # type: ignore[misc]
    """The common part of both estimators; their classes say what each parameter means."""

    hidden_layer_sizes: Any
    activation: Any
    loss: Any
    solver: str | Solver
    alpha: float
    batch_size: Any
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: Any
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    scoring: Any
    callbacks: Any
    progress: bool | None
    backend: str | Backend
    device: str | None
    precision: str | None
    # Estimators that an older version pickled have none of these.
    network: Block | None = None
    residual: bool = False
    norm: str | None = None
    dropout: float = 0.0
    threads: int | None = None
    group: str | Group | None = None
    shards: int | None = None

    coefs_: Any = OfChains()
    intercepts_: Any = OfChains()
    n_layers_: Any = OfChains()

    @classmethod
    def _get_param_names(cls) -> list[str]:
        # scikit-learn reads them off the constructor, several times for each fit of a search: a tenth of its time.
        found = _NAMES.get(cls)
        if found is None:
            found = _NAMES[cls] = tuple(super()._get_param_names())
        return list(found)

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS

    # ---- what the two differ in

    @abstractmethod
    def _given(self, X: Any, y: Any, sample_weight: Any, *, first: bool, incremental: bool = False) -> Given:
        """Return records to train on, checked; with `first`, learn from them what there is to know of X and y."""

    @abstractmethod
    def _judged(self, X: Any, y: Any, sample_weight: Any = None) -> Given:
        """Return records to measure, checked against those that were trained on."""

    @abstractmethod
    def _output(self) -> Activation:
        """Return the activation of the last layer."""

    @abstractmethod
    def _objective(self) -> Loss:
        """Return the loss that `loss` means."""

    @abstractmethod
    def _metric(self, target: Any, output: Any, *weights: Any) -> float:
        """Return what `score` does, for targets and outputs on the host."""

    @property
    def _loss_scale(self) -> int:
        """The divisor of the reported loss of the records, without the penalty."""
        return 1

    @property
    def _no_improvement_count(self) -> int:
        """Under the name that scikit-learn's own code reads and sets."""
        return self._stall.epochs

    @_no_improvement_count.setter
    def _no_improvement_count(self, epochs: int) -> None:
        self._stall = Stall(epochs)

    def _strata(self, given: Given) -> Any:
        """Return what the validation split is stratified by."""
        return None

    # ---- fitting

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any] | None = None,
        *,
        incremental: bool = False,
    ) -> Self:
        with hushed():
            return self._trained(X, y, sample_weight, validation, incremental=incremental)

    def _trained(
        self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any] | None, *, incremental: bool
    ) -> Self:
        if incremental and self.early_stopping:  # one epoch is nothing to stop early
            raise ValueError("partial_fit does not support early_stopping=True")
        check_hidden(self)
        first = not has_arrays(self) or not (self.warm_start or incremental)
        train: Given | Passes
        if y is None and is_source(X):
            train = self._passes(X, first=first, incremental=incremental)
            given = train.first
        else:
            train = given = self._given(X, y, sample_weight, first=first, incremental=incremental)
        held_out = None if validation is None else self._judged(*validation)
        random = check_random_state(self.random_state)
        live = self._begin(given.x, given.targets.shape[1], random, first=first)
        problem = Problem(
            self._objective(),
            self._loss_scale,
            PresentRate(self),
            self._strata,
            self._score_of,
            vars(self)["_stall"],
            partial(self._show, live),
        )
        check_numbers(self)
        check_ranks(self)
        if isinstance(self.solver, str) and self.solver == "lbfgs":
            fit_by_lbfgs(self, problem, live, given, held_out)
        elif not is_stochastic(self):
            fit_by_solver(self, problem, live, given, held_out)
        else:
            descend(self, problem, live, train, held_out, random, incremental=incremental)
        forget_carried(self)
        self._show(live)
        return self

    def _passes(self, source: Any, *, first: bool, incremental: bool) -> Passes:
        """Return what goes through the batches of a source; with `first`, once already, to learn what they hold."""
        if not is_stochastic(self):
            name = solver_name(self)
            raise ValueError(f"{name} needs all the records at once: give X and y, or choose another solver")
        passes = Passes(source, lambda x, y, w: self._given(x, y, w, first=False, incremental=True), int(self.max_iter))
        x, y, weights = passes.sample
        passes.first = self._given(x, y, weights, first=first, incremental=incremental)
        if first:
            self._learn_from(passes)
            passes.first = self._given(x, y, weights, first=False, incremental=True)
        return passes

    def _learn_from(self, passes: Passes) -> None:
        """Learn from all the batches what the first alone does not tell."""

    def _begin(self, X: Any, outputs: int, random: np.random.RandomState, *, first: bool) -> FittedNetwork:
        """Return the network to train: a new one, or the present one."""
        precision, ends = self.precision or training_precision(self, X, first=first), (int(X.shape[1]), outputs)
        if not first:
            check_goes_on(self, *ends, self._output())
            watch(self)
            return self._network(X, precision)
        structure = structure_of(self, *ends, self._output())
        self.n_outputs_ = structure.outputs
        output = describe(self._output())["name"]
        self.out_activation_ = "logistic" if output == "sigmoid" else output
        self._stall = Stall()
        reset_figures(self)
        forget_network(self)
        keep_structure(self, structure)
        dtype = storage_dtype(self.precision or float_type(X))
        if asks_for_blocks(self):
            structure.check_memory()
            seed = int(random.randint(2**31 - 1))
            keep_seed(self, seed)
            drawn = structure.initial_parameters(seed)
            keep_arrays(self, {name: a.astype(dtype, copy=False) for name, a in drawn.items()}, structure)
        else:
            keep_arrays(self, initial_chain(self, structure.sizes, random, dtype), structure)
        return self._network(X, precision)

    # ---- the parameters, of which scikit-learn shows those of chains as coefs_ and intercepts_

    @property
    def parameters_(self) -> Mapping[str, Any]:
        """The arrays of the network by name, constants among them; change what is in them, not which they are."""
        if not has_arrays(self):  # a NotFittedError would be an AttributeError as well, but say less
            raise AttributeError(f"this {type(self).__name__} is not fitted yet, and has no parameters_")
        return MappingProxyType(arrays_by_name(self))

    def _show(self, live: FittedNetwork) -> None:
        """Take over the arrays of the network."""
        keep_arrays(self, live.show(), live.network.structure)

    def _network(self, like: Any, precision: str) -> FittedNetwork:
        return fitted_network(self, self._output, like, precision)

    # ---- what can be asked afterwards

    def __sklearn_is_fitted__(self) -> bool:
        # Asked before each prediction: scikit-learn would look through all attributes instead.
        return has_arrays(self)

    def _score_there(self, X: Any, y: Any, sample_weight: Any) -> float:
        """Return what `score` does for arrays of another library, which scikit-learn's metrics may not read."""
        check_is_fitted(self)
        with hushed():
            return self._score_of(self._fitted().network, self._judged(X, y, sample_weight))

    def _score_of(self, network: BoundNetwork, given: Given) -> float:
        return score_of(network, given, self._objective(), self._metric)

    def _outputs(self, X: Any, loss: Loss | None = None) -> Any:
        """Return what the network puts out, before the link of its loss, [records, outputs], in the place of X.

        Parameters
        ----------
        loss
            Another one, of whose link the network puts out the argument.
        """
        check_is_fitted(self)
        X = rows_of(checked_inputs(self, X))
        with hushed():
            given = raw_outputs(self._fitted().network, X, loss or self._objective())
        if self.precision is not None:
            return given
        return as_wide_as(given, X, one_array(self))

    def _linked(self, raw: Any) -> Any:
        """Return what is made of raw outputs by the link of the loss."""
        return linked(raw, self._objective())

    def _fitted(self) -> FittedNetwork:
        like = one_array(self)
        return self._network(like, self.precision or float_type(like))

    def hidden_outputs(self, X: Any) -> list[Any]:
        """Return what each hidden layer puts out [records, units], in the place of X, the first layer first.

        Of a network of blocks, each block that stands before the output layer.
        """
        check_is_fitted(self)
        x = rows_of(checked_inputs(self, X))
        with hushed():
            return hidden_outputs(self._fitted().network, x)

    def to_mlp(self, **settings: Any) -> Network:
        """Return the fitted network as a `gdkernels.MLP`: to save it, to export it to ONNX, to train it further.

        What is no chain of dense layers comes as a `gdkernels.Network`. ``extra["classes"]`` has the labels of a
        classifier, and an exported model answers them.

        Parameters
        ----------
        settings
            ``backend``, ``device``, ``precision`` and ``seed`` of `gdkernels.MLP`; the precision is that of the
            estimator unless it is given.
        """
        check_is_fitted(self)
        settings = {"precision": self.precision or float_type(one_array(self))} | settings
        model = model_of_arrays(self, self._output(), **settings)
        model.set_parameters({name: on_host(a) for name, a in arrays_by_name(self).items()})
        model.network.train_for(Objective(self._objective()))
        return model

    def update_rule(self) -> Optimizer:
        """Return the rule by which `solver` moves the parameters along the gradient; a subclass may return another one.

        Its learning rate is 1: `learning_rate` and `learning_rate_init` say what that is multiplied by in each epoch.
        """
        return optimizer_of(self)

    def __getstate__(self) -> dict[str, Any]:
        return picklable(dict(super().__getstate__()))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
