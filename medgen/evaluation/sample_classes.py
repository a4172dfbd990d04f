"""Class probabilities of images, for the inception score: by a run that the user names, or by the data's own labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from medgen.errors import InputError, UsageError
from medgen.inference.opened import Opened
from medgen.inference.references import References
from medgen.methods.base import Predicts
from medgen.types import Array

DOMAIN = "domain"
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Classifier:
    """What tells classes of images.

    Attributes:
        probabilities: of images ``(N, C, *size)`` and their features ``(N, D)``, of K classes ``(N, K)``.
        facts: for the JSON file.
        notes: what a reader of the score must know.
    """

    probabilities: Callable[[Array, Array], Array]
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def classifier_of_run(model: Opened, expected: Sequence[str] = ()) -> Classifier:
    """A segmentation of several classes: their probabilities, as means over the image.

    Args:
        model: of the segmentation.
        expected: classes of the samples, without the background; none where the samples name none.

    Raises:
        UsageError: the model segments nothing, or only one class.
        InputError: it has other classes than the samples.
    """
    method = model.method
    if not model.known.task.labels or not isinstance(method, Predicts):
        raise UsageError(
            "the classifier is no segmentation, so it knows no classes",
            where=model.where,
            fix="name the run of a segmentation of several classes, or use --classes COLUMN",
        )
    names = ("background", *model.known.classes)
    if len(names) < 3:
        raise UsageError(
            f"the classifier knows one class ('{names[-1]}'), and an inception score needs at least 2",
            where=model.where,
            fix="with --classes and the role of the label map, patches with and without it are told apart",
        )

    if expected and set(expected) != set(names[1:]):
        raise InputError(
            f"the classifier knows {', '.join(names[1:])}, and the samples have {', '.join(expected)}",
            where=model.where,
            fix="name a classifier that was trained on the labels of these images",
        )
    notes = () if expected else ("the samples name no classes, so those of the classifier were not compared with them",)

    def probabilities(images: Array, features: Array) -> Array:
        return np.concatenate(
            [_means(model, images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        )

    return Classifier(probabilities, {**model.origin, "classes": list(names)}, notes)


def _means(model: Opened, images: Array) -> Array:
    method = model.method
    assert isinstance(method, Predicts)
    with torch.inference_mode():
        try:
            found = method.predict(torch.from_numpy(np.ascontiguousarray(images)).to(model.device))
        except (RuntimeError, UsageError) as error:
            raise InputError(
                f"the classifier cannot take the images: {str(error).splitlines()[0]}",
                where=model.where,
                fix="name a run with patches of the size of the samples",
            ) from None
    means: Array = found.float().flatten(2).mean(dim=2).double().cpu().numpy()
    shares: Array = means / means.sum(axis=1, keepdims=True)
    return shares


def classifier_of_labels(
    column: str, training: References, training_features: Array, held_out: References, held_out_features: Array
) -> Classifier:
    """A logistic regression on features, trained here: of domains, or of patches with and without a label.

    Args:
        column: ``domain``, or the role of a label map.
        training: patches that it learns from.
        training_features: of these, (N, D).
        held_out: patches of other patients, on which it is tried.
        held_out_features: of these, (M, D).

    Raises:
        InputError: a case has no such label, or all patches are of one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth, other = (_classes_of(column, each) for each in (training, held_out))
    if len(names := sorted(set(truth))) < 2:
        raise InputError(
            f"all training patches are of one class of '{column}': {names[0]}",
            fix="choose a column of which the training cases have two classes or more",
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    model.fit(training_features, truth)
    right = float(balanced_accuracy_score(other, model.predict(held_out_features)))
    chance = 1 / len(names)
    facts = {"column": column, "classes": names, "balanced_accuracy": right, "patches": len(truth)}
    note = (
        f"the classifier of '{column}' is right for {100 * right:.0f} % of the held-out real patches (balanced; chance "
        f"is {100 * chance:.0f} %): what it cannot tell, the inception score does not see",
    )
    return Classifier(lambda images, features: np.asarray(model.predict_proba(features)), facts, note)


def _classes_of(column: str, patches: References) -> Sequence[str]:
    if column == DOMAIN:
        if None in patches.domains:
            raise InputError("the case table has no domain for some cases", fix="fill in the column 'domain'")
        return [str(each) for each in patches.domains]
    if patches.present is None:
        raise InputError(
            f"some cases have no label map '{column}'",
            fix=f"choose '{DOMAIN}', or a column of label maps that every case has",
        )
    return [f"with {column}" if each else f"without {column}" for each in patches.present]
