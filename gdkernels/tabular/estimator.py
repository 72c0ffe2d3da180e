"""The habits of scikit-learn's estimators, without scikit-learn: keywords by name, a short form, tags."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from gdkernels.errors import shown, unknown_name

__all__ = ["parameters_of", "set_parameters", "short_form", "tags_for"]


def parameters_of(estimator: object) -> dict[str, Any]:
    """Return the keywords of an estimator's constructor, as they were given."""
    return {name: getattr(estimator, name) for name in _defaults(estimator)}


def set_parameters(estimator: object, given: Mapping[str, Any]) -> None:
    """Set keywords of an estimator's constructor.

    Raises
    ------
    InputError
        For a name that is none of them.
    """
    known = _defaults(estimator)
    for name in given:
        if name not in known:
            raise unknown_name("keyword", name, known)
    vars(estimator).update(given)


def short_form(estimator: object) -> str:
    """Return the call that makes such an estimator: with the keywords that are not the defaults."""
    defaults = _defaults(estimator)
    now = parameters_of(estimator)
    given = [f"{name}={shown(value)}" for name, value in now.items() if not _is_default(value, defaults[name])]
    return f"{type(estimator).__name__}({', '.join(given)})"


def tags_for(task: str) -> Any:
    """Return what scikit-learn asks of an estimator: only scikit-learn calls this, so that it is there."""
    from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

    kind = {"classification": "classifier", "regression": "regressor"}.get(task)
    return Tags(
        estimator_type=kind,
        target_tags=TargetTags(required=False),
        classifier_tags=ClassifierTags() if kind == "classifier" else None,
        regressor_tags=RegressorTags() if kind == "regressor" else None,
        input_tags=InputTags(string=True, categorical=True, allow_nan=True),
    )


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))  # a frame has no truth


def _defaults(estimator: object) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(type(estimator)).parameters.items()}
