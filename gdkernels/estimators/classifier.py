"""The classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted

from gdkernels import metrics
from gdkernels.backend import Backend
from gdkernels.definition.activations import Activation, identity, sigmoid, softmax
from gdkernels.definition.blocks import Block
from gdkernels.definition.losses import BinaryCrossEntropy, CrossEntropy, Loss, link_of
from gdkernels.definition.naming import names, resolve
from gdkernels.definition.solvers import Solver
from gdkernels.dispatch.array_api import to_host
from gdkernels.dispatch.binding import namespace_of
from gdkernels.errors import shown
from gdkernels.estimators.base import BaseMLP
from gdkernels.estimators.inputs import Given, Passes, beside, checked_records, checked_weights
from gdkernels.estimators.parameters import CONSTRAINTS, check_solver, keep_parameters, pair
from gdkernels.estimators.rules import log_probabilities
from gdkernels.groups import Group
from gdkernels.models.network import Network
from gdkernels.system.ranges import at_least

__all__ = ["MLPClassifier"]


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron that predicts classes, with the parameters of scikit-learn's and gdkernels' backends.

    With the same parameters and `random_state`, it takes the steps of ``sklearn.neural_network.MLPClassifier``, from
    the same initial weights, over the same batches.

    Parameters
    ----------
    hidden_layer_sizes, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, \
random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, \
beta_2, epsilon, n_iter_no_change, max_fun
        As in scikit-learn.
    activation
        "identity", "logistic", "tanh", "relu", any other activation of gdkernels, or a function ``f(z, *, xp)``; or a
        list with one of these for each hidden layer.
    loss
        "log_loss", as in scikit-learn; or a function ``loss(prediction, target, *, xp)`` of probabilities and one-hot
        targets [records, outputs] that returns one number per record, or a loss of gdkernels by its name. One that has
        a `link` is given what the link makes probabilities of.
    class_weight
        The weight of each class, by its label; "balanced" weighs each with the inverse of its share.
    scoring
        What early stopping watches on the validation data: None for the accuracy, "loss" for the loss, or a scorer's
        name or function as `sklearn.model_selection.cross_val_score` takes.
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
    classes_
        The labels, sorted.
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

    _sparse_labels = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "loss": [StrOptions({"log_loss", *names("loss")}), callable],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
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
        loss: str | Loss = "log_loss",
        class_weight: str | Mapping[Any, float] | None = None,
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
        """Train on X [records, features] and y, and return self.

        Parameters
        ----------
        X
            An array of any library that speaks the Array API or DLPack, a frame, a list, or a sparse matrix, which is
            made dense a few rows at a time.
        y
            Labels [records]; or, where a record can have several, 0 and 1 [records, labels]. Without y, X is a list of
            batches (X, y) or (X, y, sample_weight), or a function that returns an iterator over them for each epoch;
            each is used as it comes, one step each. They are gone through once before, for their labels.
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Do one epoch on these records, from where training stands, and return self.

        Parameters
        ----------
        classes
            All the labels that there will be; needed in the first call.
        """
        known = getattr(self, "classes_", None)
        if known is None and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None:
            labels = unique_labels(classes) if namespace_of(classes) is None else classes
            if known is None:
                self._learn(y, labels)
            elif not np.array_equal(np.asarray(known), np.asarray(labels)):
                raise ValueError(f"`classes={classes}` is not the same as on last call to partial_fit, was: {known}")
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """Return the labels [records], or 0 and 1 [records, labels] where a record can have several.

        After a fit on a sparse matrix of labels, this is a sparse matrix as well, as scikit-learn's is.
        """
        output = self._linked(self._outputs(X))
        xp = namespace_of(output) or np
        if self._several:
            found = xp.astype(output > 0.5, xp.int64)
            return sparse.csr_matrix(found) if self._sparse_labels and xp is np else found
        index = xp.argmax(output, axis=1) if output.shape[1] > 1 else xp.astype(self._second(output[:, 0]), xp.int64)
        return xp.take(self._labels_beside(output), index, axis=0)

    def _second(self, output: Any) -> Any:
        """Return whether a record is of the second class: of a single class, all records are, whatever comes out."""
        return (output > 0.5) & (self.classes_.shape[0] > 1)

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities [records, classes], in the order of `classes_`."""
        check_is_fitted(self)
        if self.n_outputs_ > 1 or self._output() is not sigmoid:
            output = self._linked(self._outputs(X))
            xp = namespace_of(output) or np
            return output if output.shape[1] > 1 else xp.concat([1.0 - output, output], axis=1)
        logits = self._outputs(X, BinaryCrossEntropy())
        xp = namespace_of(logits) or np
        return sigmoid(xp.concat([-logits, logits], axis=1), xp=xp)  # 1 − p would be 0 where p is nearly 1

    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of the probabilities, in full precision also where these are nearly 0 or 1."""
        check_is_fitted(self)
        output = self._output()
        if output is not softmax and output is not sigmoid:
            probability = self.predict_proba(X)
            with np.errstate(divide="ignore"):
                return (namespace_of(probability) or np).log(probability)
        logits = self._outputs(X, CrossEntropy() if output is softmax else BinaryCrossEntropy())
        xp = namespace_of(logits) or np
        if logits.shape[1] == 1:  # as if the first of two had a logit of its own
            logits = xp.concat([-logits, logits], axis=1)
        logs = log_probabilities(logits, output, xp=xp)
        if not self._several:
            return logs
        # Labels whose probabilities are equal, most often 1, have equal logarithms, as whoever ranks them expects.
        probability = output(logits, xp=xp)
        return xp.where(probability < 0.5, logs, xp.log(xp.where(probability < 0.5, 1.0, probability)))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: the share of records with the right label, or with all labels right."""
        if namespace_of(X) is not None:
            return self._score_there(X, y, sample_weight)
        return float(super().score(X, y, sample_weight))

    def to_mlp(self, **settings: Any) -> Network:
        """Return the fitted network as a `gdkernels.MLP`, or `gdkernels.Network`; see `MLPRegressor.to_mlp`."""
        mlp = super().to_mlp(**settings)
        if not self._several:
            mlp.extra["classes"] = self._labels().tolist()
        return mlp

    def _labels(self) -> Any:
        """Return the classes on the host."""
        return np.asarray(self.classes_ if namespace_of(self.classes_) is None else to_host(self.classes_))

    @property
    def _label_binarizer(self) -> LabelBinarizer:
        """Under the name that skl2onnx's converter reads."""
        return LabelBinarizer().fit(np.eye(self.n_outputs_, dtype=int) if self._several else self._labels())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    # ---- what the base asks for

    def _metric(self, target: Any, output: Any, *weights: Any) -> float:
        alone = not self._several and self.classes_.shape[0] == 1
        return metrics.accuracy(target, np.zeros_like(output) if alone else output, *weights)

    def _given(self, X: Any, y: Any, sample_weight: Any, *, first: bool, incremental: bool = False) -> Given:
        X, y = checked_records(self, X, y, reset=first, numeric=False)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental or not first):
            self._learn(y)
        elif not self._several:
            self._check_known(y)
        if incremental and self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all the records at once; name the weight of each class")
        xp = namespace_of(y) or np
        targets = self._encoded(y, xp)
        return Given(X, y, targets, self._weighted(targets, checked_weights(X, sample_weight), xp))

    def _judged(self, X: Any, y: Any, sample_weight: Any = None) -> Given:
        X, y = checked_records(self, X, y, reset=False, numeric=False)
        return Given(X, y, self._encoded(y, namespace_of(y) or np), checked_weights(X, sample_weight))

    def _learn_from(self, passes: Passes) -> None:
        labels = [y if namespace_of(y) is None else to_host(y) for _, y, _ in passes]
        self._learn(np.concatenate([np.asarray(y) for y in labels]))

    def _learn(self, y: Any, classes: Any = None) -> None:
        """Find out which labels there are, and whether a record can have several."""
        xp = namespace_of(y)
        self._sparse_labels = hasattr(y, "toarray")
        if xp is None:
            check_classification_targets(y)
            kind = type_of_target(y)
            if kind == "multiclass-multioutput":
                raise ValueError("Multioutput target data is not supported; use one column for each label, of 0 and 1")
            self._several = kind == "multilabel-indicator"
            found = unique_labels(y)
        else:
            self._several = y.ndim == 2
            found = xp.arange(y.shape[1], device=y.device) if self._several else xp.sort(xp.unique_values(y))
        self.classes_ = found if classes is None else classes

    def _check_known(self, y: Any) -> None:
        if namespace_of(y) is not None:
            return  # what is not among the classes is found when it is encoded
        found = unique_labels(y)
        if self.warm_start and set(found) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {found}"
            )
        if np.setdiff1d(found, self.classes_).size:
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {found}."
            )

    def _encoded(self, y: Any, xp: Any) -> Any:
        """Return y as True and False [records, outputs]: a column for each class, or one for the second of two."""
        if self._several:
            y = y.toarray() if hasattr(y, "toarray") else y
            return xp.asarray(y != 0)
        hot = y[:, None] == self.classes_[None, :]
        if not bool(xp.all(xp.any(hot, axis=1))):
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}.")
        return hot if hot.shape[1] > 2 else hot[:, 1:] if hot.shape[1] == 2 else xp.logical_not(hot)

    def _weighted(self, targets: Any, sample_weight: Any, xp: Any) -> Any:
        """Return the weights of the records times those of their classes."""
        if self.class_weight is None:
            return sample_weight
        if self._several:
            raise ValueError("class_weight needs one class per record; use sample_weight")
        hot = xp.astype(targets, xp.float64)
        if hot.shape[1] == 1:
            hot = xp.concat([1.0 - hot, hot], axis=1)[:, : self.classes_.shape[0]]
        if self.class_weight == "balanced":
            counts = xp.sum(hot, axis=0)
            weights = hot.shape[0] / (hot.shape[1] * xp.where(counts > 0, counts, 1.0))
        else:
            labels = np.asarray(self.classes_).tolist()
            unknown = [label for label in self.class_weight if label not in labels]
            if unknown:
                raise ValueError(f"class_weight names {unknown}, which are not among the classes {labels}")
            values = [self.class_weight.get(label, 1.0) for label in labels]
            if not all(map(at_least(0).has, values)):
                raise ValueError(f"class_weight must give finite numbers of at least 0, got {shown(self.class_weight)}")
            weights = xp.asarray(values, dtype=xp.float64, device=hot.device)
        weights = xp.sum(hot * weights[None, :], axis=1)
        return weights if sample_weight is None else weights * sample_weight

    def _labels_beside(self, output: Any) -> Any:
        labels = beside(output, self.classes_)
        if namespace_of(labels) is not namespace_of(output):
            raise ValueError(
                f"the classes are {labels.dtype}, which {type(output).__module__} has no arrays of; use predict_proba, "
                "or train on numbers"
            )
        return labels

    def _strata(self, given: Given) -> Any:
        return given.targets if self.n_outputs_ == 1 and namespace_of(given.targets) is None else None

    def _objective(self) -> Loss:
        loss: Loss = resolve("loss", "cross_entropy" if self.loss == "log_loss" else self.loss)
        if not isinstance(loss, (CrossEntropy, BinaryCrossEntropy)):
            return loss
        return BinaryCrossEntropy() if self._output() is sigmoid else CrossEntropy()

    def _output(self) -> Activation:
        exclusive = not self._several and self.classes_.shape[0] > 2
        if self.loss == "log_loss" or isinstance(self.loss, str):
            return softmax if exclusive else sigmoid
        link = link_of(self.loss)
        return (softmax if exclusive else sigmoid) if link is identity else link
