"""`TabularPredictor`: from a raw table to predictions, as an estimator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy.typing as npt

from gdkernels.backend import Backend
from gdkernels.dispatch.explanation import Explanation
from gdkernels.errors import InputError
from gdkernels.groups import Group, joined
from gdkernels.groups.agreement import guarded
from gdkernels.models.mlp import load_network
from gdkernels.models.network import Network
from gdkernels.system.given import checked_switch
from gdkernels.tables import Preparation, Table
from gdkernels.tables.formats.text import TextOptions
from gdkernels.tables.read import Data
from gdkernels.tabular.description import TableDescription
from gdkernels.tabular.estimator import parameters_of, set_parameters, short_form, tags_for
from gdkernels.tabular.evaluating.evaluation import Evaluation
from gdkernels.tabular.fitted import FittedModel, fitted_attributes, keywords_of
from gdkernels.tabular.from_data import description_of, trained_on
from gdkernels.tabular.model.drift import Drift
from gdkernels.tabular.model.keeping import copy_of, kept_of, model_kept
from gdkernels.tabular.model.passed_labels import PassedLabels
from gdkernels.tabular.model.prediction import Prediction, PreparedNetwork
from gdkernels.tabular.ranks import agree_on_keywords
from gdkernels.tabular.results import TabularResult
from gdkernels.tabular.settings import TabularSettings, defaults
from gdkernels.training.history import History

__all__ = ["TabularPredictor"]

_OF_A_FIT = ("classes_", "result_", "histories_", "history_", "explanation_")


class TabularPredictor:
    """From a raw table to predictions: it prepares columns, chooses what you leave open, trains, and evaluates.

    It does what ``gdkernels train`` does from the command line, with its options as keywords; the same seed gives the
    same bits. A table is a file (CSV or TSV, Parquet, Arrow or Feather, NPY, NPZ; also gzip or zstd), several, a folder
    of them, the name of a built-in data set, a frame of pandas, polars, pyarrow or Dask, a dict of columns, a list of
    dicts, which are records, or an array.

    Parameters
    ----------
    target
        The column to predict, or several of numbers; None where the table says so itself, or `fit` gets ``y``.
    task
        "classification", "regression", or "auto": text, or few whole numbers, are classes.
    ignore, keep_columns, categorical, numeric
        A column or several: to leave out; to use even if they look like identifiers; to take as names, even if they are
        numbers; to take as numbers, where a cell that holds none is a gap.
    read
        What the cells of a column mean, where they can be read in several ways, in the words that `describe` prints:
        an example of its numbers such as ``1.234,5 €``, a pattern of its dates such as ``%d/%m/%Y``, or ``text``. The
        model keeps it.
    missing
        A value, such as ``"-200"``, or several that stand for a gap. Empty cells, NA, N/A, null and ? do so anyway, and
        among numbers and dates also None, -, . and the like.
    header
        Whether text files begin with the names of the columns; None expects them, and rejects a first line that looks
        like a record.
    skip_rows
        The number of lines to skip at the beginning of a text file.
    drop_missing
        Whether to leave out records without a target instead of rejecting the table.
    class_weight
        "balanced" weights the records so that each class counts the same.
    hidden
        The units of the hidden layers: 64, (128, 64), or () for none; None goes by the number of records.
    activation, loss, optimizer, schedule
        Names, or objects and functions as `Network.fit` takes them. A loss of None is cross-entropy for classes, and
        squared errors for numbers. In place of an optimizer, "lm", "lbfgs" or a `Solver`: then a `hidden` of None is a
        layer small enough for it.
    residual, norm, dropout
        Skip connections around the hidden layers, "layer" for layer norm, and the share of their outputs that is
        dropped in training, as for `MLP`.
    encoding
        "piecewise" adds to each number inputs that tell how far it has come through bins between quantiles of the
        training rows. "auto" does so from 500 training rows on, "none" never.
    learning_rate, momentum, nesterov
        Settings of an optimizer that is given by name; the momentum is that of "sgd", 0.9 for None.
    l2
        The penalty on weights; None goes by the number of records, or takes the best one for the rows left out.
    clip_norm
        The largest norm of the gradient.
    epochs, batch_size
        The largest number of epochs, and the records in a step; None goes by the number of records.
    patience
        The number of epochs without a lower validation loss after which to stop, 0 for never; None goes by the number
        of records.
    starts
        The number of initial weights to train from; the best network is kept.
    average
        The number of networks to train, each with validation rows of its own, and to join into one that predicts their
        average. None is five, three to ten from 1,000 to 10,000 rows, by the time they take, and one with `hidden`,
        with `starts`, and beyond 100,000 rows. Those of 500 to 10,000 rows stop together, and learn from all rows.
    quick
        Whether to train a single network, for at most 100 epochs, in seconds instead of the average of several.
    retries
        The number of times to go back and continue at half the learning rate if training diverges.
    search
        The number of settings to try. Each draws at random what you leave open of the network, `dropout`,
        `learning_rate`, `l2` and `batch_size`. The predictor keeps the ensemble that does best on the validation rows,
        which are a fifth unless `validation` says otherwise. None does not search.
    best
        Whether to use all of `time_limit` for such a search. It tries each setting with five networks, and measures
        each network on the fifth of the rows that it was trained without.
    time_limit
        The time after which a search begins no further settings: seconds, or text such as "90s", "10min", "2h". None is
        five minutes for `best`, and no limit for `search` alone. The default settings are always tried, and may take
        longer.
    seed
        The seed of all random choices.
    test
        The share of the rows to keep from training and from stopping; the figures are measured on them.
    validation
        The share of the other rows that decides when to stop; None is another part for each network.
    split
        How rows are set aside: "random"; "time" or "time:COLUMN", the last ones by a column of dates or numbers;
        "group:COLUMN", all rows of some groups.
    test_file
        A table to measure the figures on, as `fit` takes one, with the target in it; no rows are set aside then.
    outside
        How to treat numbers and dates beyond those of training: "hold" takes the nearest of those, "extrapolate" leaves
        them as they are, so that a trend goes on. None is "hold" with a split by time, and otherwise "extrapolate".
    bounds
        The lowest and the highest number to predict, such as (0, 1), (0, None) or "0:1"; "auto" is from 0 on if no
        target is below 0, and None sets none.
    memory
        Train in windows of this much memory, in bytes or as "512MB", on files that may be larger; None does so only if
        the table would not fit.
    backend, device, precision, threads
        The place and the precision of the computation, and the most threads to compute on, as for `Network`.
    group, shards
        The processes that train together, and the parts of each batch that they sum in a fixed order, as for `Trainer`.
        Several networks of one table are dealt to the processes instead.
    explain
        Whether to keep, as ``explanation_``, how long each backend was estimated to take, and why one was chosen.
    checkpoint, every, keep, resume
        A folder for checkpoints, how often to write one ("30s", "2h", "10 epochs", "1000 steps"), how many to keep, and
        whether to continue from the newest.
    progress
        Whether to show a bar; None shows it on a terminal and in a notebook.

    Attributes
    ----------
    network : Network
        The trained network; its inputs are prepared by ``preparation_``.
    preparation_ : gdkernels.tables.Preparation
        The preparation of each column.
    result_ : TabularResult
        Everything about the fit; ``print(predictor.result_.as_text())`` prints the command's summary. A loaded
        predictor does not have it, nor ``histories_``, ``history_`` and ``explanation_``.
    histories_, history_ : tuple of History, History
        The histories of the networks that were averaged, and that of the first.
    metrics_, rows_ : dict
        The figures on the rows kept from training, and how many rows there were for what.
    classes_ : numpy.ndarray
        The labels of a classification, in the order of `predict_proba`; booleans and text as they were passed.
    n_features_in_, feature_names_in_ : int, numpy.ndarray
        The columns of the table, targets excepted.
    explanation_ : Explanation or None
        Why it ran where it did.

    Raises
    ------
    InputError
        From `fit`, where a keyword or the table cannot be used; nothing is trained then.

    Examples
    --------
    >>> predictor = gd.TabularPredictor(target="price", seed=1).fit("houses.csv")  # doctest: +SKIP
    >>> predictor.metrics_, predictor.predict("new.csv")  # doctest: +SKIP
    """

    target: str | int | Sequence[str | int] | None
    task: str
    header: bool | None
    skip_rows: int
    progress: bool | None

    network: Network
    preparation_: Preparation
    result_: TabularResult
    metrics_: dict[str, float]
    rows_: dict[str, int]
    classes_: npt.NDArray[Any]
    n_features_in_: int
    feature_names_in_: npt.NDArray[Any]
    histories_: tuple[History, ...]
    history_: History
    explanation_: Explanation | None

    _model: PreparedNetwork | None = None
    _labels: PassedLabels | None = None
    _told: set[str]

    def __init__(
        self,
        target: str | int | Sequence[str | int] | None = None,
        *,
        task: str = "auto",
        ignore: str | int | Sequence[str | int] = (),
        keep_columns: str | int | Sequence[str | int] = (),
        categorical: str | int | Sequence[str | int] = (),
        numeric: str | int | Sequence[str | int] = (),
        read: Mapping[str, str] | None = None,
        missing: str | Sequence[str] = (),
        header: bool | None = None,
        skip_rows: int = 0,
        drop_missing: bool = False,
        class_weight: str | None = None,
        hidden: int | Sequence[int] | None = None,
        activation: Any = defaults.ACTIVATION,
        residual: bool = False,
        norm: str | None = None,
        dropout: float = 0.0,
        encoding: str = "auto",
        loss: Any = None,
        optimizer: Any = defaults.OPTIMIZER,
        learning_rate: float | None = None,
        momentum: float | None = None,
        nesterov: bool = False,
        l2: float | None = None,
        clip_norm: float | None = None,
        schedule: Any = "constant",
        epochs: int | None = None,
        batch_size: int | None = None,
        patience: int | None = None,
        starts: int = 1,
        average: int | None = None,
        quick: bool = False,
        best: bool = False,
        time_limit: float | str | None = None,
        retries: int = 0,
        search: int | None = None,
        seed: int = 0,
        test: float = defaults.TEST,
        validation: float | None = None,
        split: str = "random",
        test_file: Any = None,
        outside: str | None = None,
        bounds: Any = "auto",
        memory: int | str | None = None,
        backend: str | Backend = "auto",
        device: str | None = None,
        precision: str = "float32",
        threads: int | None = None,
        group: str | Group | None = None,
        shards: int | None = None,
        explain: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        every: str = "5min",
        keep: int = 3,
        resume: bool = False,
        progress: bool | None = None,
    ) -> None:
        set_parameters(self, {name: value for name, value in locals().items() if name != "self"})

    # ---- an estimator's habits

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the keywords as they were given; `deep` changes nothing, as none of them is an estimator."""
        return parameters_of(self)

    def set_params(self, **parameters: Any) -> Self:
        """Set some of the keywords, for the next `fit`.

        Raises
        ------
        InputError
            For a name that is no keyword.
        """
        set_parameters(self, parameters)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return self._model is not None

    def __sklearn_tags__(self) -> Any:
        return tags_for(self.task)

    def __repr__(self) -> str:
        return short_form(self)

    # A pickle and a copy keep all of it. Tools that know arrays and JSON alone, such as skops, keep what a file keeps.

    def __reduce__(self) -> tuple[Any, ...]:
        return copy_of, (type(self), vars(self))

    def __getstate__(self) -> dict[str, Any]:
        return kept_of(self.get_params(), self._model)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state["keywords"])
        if (model := model_kept(state)) is not None:
            self._remember(model, PassedLabels.of_model(model.network, model.preparation, "that was kept"))

    # ---- before and while training

    def describe(self, X: Data, y: Any = None) -> TableDescription:
        """Return what training would do with each column of a table, and why; nothing is trained.

        Training decides by its training rows, so that a figure may differ a little.

        Parameters
        ----------
        X, y
            As for `fit`; the table needs no target.

        Raises
        ------
        InputError
            If columns are not there or cannot be used.
        """
        return description_of(TabularSettings.checked(self.get_params()), X, y)

    def fit(self, X: Data, y: Any = None) -> Self:
        """Train on a table, and return the predictor itself.

        Parameters
        ----------
        X
            A table: a file, several, a folder, a built-in data set's name, a frame, a dict of columns, or an array.
        y
            The targets, where X does not hold them: a value for each record, or several columns of numbers. Their name
            is what ``target`` says, else their own, else "target".

        Raises
        ------
        InputError
            If a keyword or the table cannot be used; it names the keyword, or the record and the column.
        BackendError
            For a backend or device that was named and cannot run here.
        DivergenceError
            If training diverges.
        Interrupted
            If a signal ends a fit that keeps checkpoints; with ``resume=True`` the next fit goes on from there.
        """
        settings = TabularSettings.checked(self.get_params())
        settings.check_place()
        group = joined(settings.group)
        with guarded(group):
            agree_on_keywords(group, self.get_params())
            trained = trained_on(settings, X, y)
        self._remember(trained.model, trained.labels)
        result = trained.result
        self.result_, self.histories_, self.history_ = result, result.histories, result.history
        self.explanation_ = result.explanation
        return self

    def _remember(self, model: PreparedNetwork, labels: PassedLabels | None) -> None:
        """Become a predictor that is fitted: set the attributes that follow from its network."""
        for name in _OF_A_FIT:
            vars(self).pop(name, None)
        self._model, self._labels, self._told = model, labels, set()
        vars(self).update(fitted_attributes(model, labels))

    # ---- after training

    def predict(self, X: Data) -> npt.NDArray[Any]:
        """Return for each record of a table its number or its class, in the target's own terms.

        Parameters
        ----------
        X
            A table with the columns that the predictor was trained on, in any order; other columns are ignored.

        Returns
        -------
        numpy.ndarray
            [records], or [records, targets] where several are predicted.

        Raises
        ------
        InputError
            If nothing has been fitted, a column is missing or holds what it cannot, or there are no records.

        Warns
        -----
        UserWarning
            Once, of each column of names that training has not seen, and has too few others like them.
        """
        return self._fitted().predict(X)

    def predict_proba(self, X: Data) -> npt.NDArray[Any]:
        """Return the probabilities [records, classes] of the classes, in the order of ``classes_``.

        Raises
        ------
        InputError
            If numbers are predicted; else as for `predict`.
        """
        return self._fitted().predict_proba(X)

    def predict_parts(self, X: Data) -> Iterator[tuple[Table, Prediction]]:
        """Yield a table of any size part by part, each with its predictions; raises what `predict` raises."""
        return self._fitted().predict_parts(X)

    def evaluate(self, X: Data, y: Any = None, *, drop_missing: bool = False, importance: bool = False) -> Evaluation:
        """Predict the target of each record of a table, compare, and return the figures.

        Parameters
        ----------
        X, y
            As for `fit`.
        drop_missing
            Whether to leave out records without a target instead of rejecting the table.
        importance
            Whether to measure the importance of each column, by shuffling its cells among the records.

        Returns
        -------
        Evaluation
            It can be read like a dict: ``evaluation["metrics"]["r2"]``.

        Raises
        ------
        InputError
            If nothing has been fitted, the table has no records, or lacks what the model needs.
        """
        said = {"drop_missing": drop_missing, "importance": importance}
        return self._fitted().evaluate(X, y, **{name: checked_switch(name, value) for name, value in said.items()})

    def drift(self, X: Data) -> list[dict[str, Any]]:
        """Return for each column of a table the share that training has not seen.

        Returns
        -------
        list of dict
            For each column ``out_of_range`` (numbers and dates beyond those of training), ``unseen`` (names that were
            not there, or too rare to be learned) and ``missing``; and ``trained``, the range and shares of training.

        Raises
        ------
        InputError
            As `predict`.
        """
        return self._fitted().drift_of(X)

    def drift_in_parts(self) -> Drift:
        """Return what measures the `drift` of tables that are added to it, such as those of `predict_parts`."""
        return self._fitted().drift()

    def score(self, X: Data, y: Any = None) -> float:
        """Return R², or of classes the accuracy, on a table with the target in it or beside it."""
        metrics = self.evaluate(X, y).metrics
        return metrics["r2" if "r2" in metrics else "accuracy"]

    def prepared(self, X: Data, y: Any = None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the inputs and the targets of a table as ``network`` takes them, for what needs its gradients.

        Raises
        ------
        InputError
            As `evaluate`.
        """
        return self._fitted().prepared(X, y)

    def _fitted(self) -> FittedModel:
        if self._model is None:
            raise InputError("this TabularPredictor has learned nothing yet: call fit first, or load one")
        options = TextOptions(self.header, self.skip_rows)
        return FittedModel(self._model, self._labels, options, self.progress, self._told)

    # ---- files

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write everything that `gdkernels.load` and ``gdkernels predict`` need to a safetensors file.

        Raises
        ------
        InputError
            If nothing has been fitted.
        FileError
            If the file exists and `overwrite` is not set, or cannot be written; nothing is ever half-written.
        """
        self._fitted().model.network.save(path, overwrite=overwrite)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        backend: str | Backend = "auto",
        device: str | None = None,
        threads: int | None = None,
        objects: Mapping[str, Callable[..., Any]] | None = None,
    ) -> Self:
        """Return the predictor that `save` or ``gdkernels train --out`` wrote.

        It knows its target, task, seed and place; the other settings of its training are in
        ``network.extra["settings"]``.

        Parameters
        ----------
        objects
            By name, the functions that are not built in; files keep no code.

        Raises
        ------
        FileError
            If the file cannot be read, or holds a network without a preparation.
        InputError
            If a function that is not built in is missing from `objects`.
        """
        network = load_network(path, backend=backend, device=device, threads=threads, objects=objects)
        return cls.of_network(network, path, backend, device, threads)

    @classmethod
    def of_network(
        cls,
        network: Network,
        path: str | os.PathLike[str],
        backend: str | Backend = "auto",
        device: str | None = None,
        threads: int | None = None,
    ) -> Self:
        """Return the predictor of a network that was read from `path`, with the preparation that it keeps.

        Raises
        ------
        FileError
            If it keeps none, or one that does not fit.
        """
        model = PreparedNetwork.of(network, path)
        labels = PassedLabels.of_model(network, model.preparation, path)
        predictor = cls(**keywords_of(model), backend=backend, device=device, threads=threads)
        predictor._remember(model, labels)
        return predictor

    def export_onnx(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write an ONNX model that takes the raw columns of a table, and predicts what this does.

        Its inputs are the columns [records, 1]: numbers as float64 with NaN for gaps; text with "" for them; dates as
        whole seconds since 1970-01-01 UTC, the smallest 64-bit integer for them. Its output is ``prediction``
        [records, targets], or of classes ``label`` [records] and ``probabilities`` [records, classes].

        Raises
        ------
        InputError
            If the package onnx is missing, or nothing has been fitted.
        FileError
            If the file exists and `overwrite` is not set, or cannot be written; nothing is ever half-written.
        """
        self._fitted().export_onnx(path, overwrite=overwrite)
