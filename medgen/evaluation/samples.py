"""Samples of a generator against real images that it has not seen: one file of scores, with what real images reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import medgen
from medgen.cases import Case, CaseTable, columns_of, read_cases
from medgen.cases.phantoms import is_phantom
from medgen.errors import InputError, UsageError
from medgen.evaluation.sample_classes import DOMAIN, Classifier, classifier_of_labels, classifier_of_run
from medgen.evaluation.sample_metrics import GROUPS, Judged, Pictures, judge
from medgen.evaluation.sample_sets import SampleSet, read_samples
from medgen.evaluation.scores import NOTHING, Scores, number_text
from medgen.files import sha256
from medgen.inference.features import FeatureNetwork, open_features, require_fit
from medgen.inference.mirroring import flip_axes, mirrored, mirrorings
from medgen.inference.opened import Opened, open_model
from medgen.inference.references import References, draw_patches
from medgen.metrics.statistics import Summary
from medgen.types import Array, Progress, Split

TRAINING = 4
"""Training patches for each sample: copies are looked for among all of them, and classes are learnt from them."""


class Networks(NamedTuple):
    """Everything that looks at images.

    Attributes:
        features: computes features.
        discriminator: whose layers are compared, if one is named.
        classifier: run of a segmentation, if one is named.
    """

    features: FeatureNetwork
    discriminator: FeatureNetwork | None
    classifier: Opened | None

    def require_fit(self, samples: SampleSet) -> None:
        """Refuse samples that one of them was not trained for; see :func:`~medgen.inference.features.require_fit`."""
        models = {
            "feature network": self.features.model,
            "discriminator": None if self.discriminator is None else self.discriminator.model,
            "classifier": self.classifier,
        }
        for what, model in models.items():
            if model is not None:
                require_fit(model, what, samples.preparation, samples.images.shape[2:], samples.patches.plane)

    def seen(self, images: Array, features: Array, teller: Classifier | None) -> Pictures:
        """Images ``(N, C, *size)`` with their features, the layers of the discriminator and the classes."""
        layers = () if self.discriminator is None else self.discriminator.layers(images)
        return Pictures(images, features, layers, None if teller is None else teller.probabilities(images, features))


def evaluate_samples(
    samples: str | Path,
    cases: str | Path,
    *,
    features: str | Path,
    layer: int | None = None,
    classifier: str | Path | None = None,
    classes: str | None = None,
    discriminator: str | Path | None = None,
    metrics: Sequence[str] = (),
    split: Split = "test",
    train_split: Split = "train",
    count: int | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    device: str = "auto",
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
) -> Scores:
    """Judge samples by as many real patches of patients that the generator has not seen.

    Real patches are prepared, placed and cut as in the training of the generator. Beside each number stands what
    patches of the training patients reach in place of the samples: no generator can be expected to do better.

    Args:
        samples: folder of ``medgen sample``, or of volumes made elsewhere.
        cases: the case table.
        features: run whose network computes features; see :func:`~medgen.inference.features.open_features`.
        layer: of that network, from 1; by default the one with the most channels.
        classifier: run of a segmentation of several classes, for the inception score.
        classes: instead of it ``domain``, or the role of a label map: a classifier of these classes is trained here.
        discriminator: run whose layers are compared, such as that of the GAN itself.
        metrics: groups of metrics to compute (:data:`~medgen.evaluation.sample_metrics.GROUPS`); by default all that
            the images support, and what is left out has its reason.
        split: of the real images that samples are compared with.
        train_split: of those that the generator learnt from.
        count: samples, and held-out patches, that are used; by default all samples. Of the training split there are
            :data:`TRAINING` times as many, as far as it has different ones.
        seed: of the places of real patches, and of random pairs and splits.
        store: folder of prepared cases, which is added to; by default a temporary one.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        allow_modules: modules outside medgen that a model may name as its method.
        progress: called with (done, in all, what).

    Returns:
        The scores; without rows for cases.

    Raises:
        UsageError: options contradict each other, or a run cannot do what it is named for.
        InputError: samples, cases or networks do not fit together, a split has no case, or a metric that was asked for
            cannot be computed.
        ModelError: a model is missing or damaged.
    """
    _require_sensible(metrics, split, train_split, count, classifier, classes)
    networks = Networks(
        open_features(features, device, layer=layer, allow_modules=allow_modules),
        None if discriminator is None else open_features(discriminator, device, allow_modules=allow_modules),
        None if classifier is None else open_model(classifier, device, allow_modules),
    )
    teller: Classifier | None = None
    table = read_cases(cases)
    chosen = [_cases_of(table, each) for each in (split, train_split)]
    found = read_samples(Path(samples), networks.features.model, count=count, seed=seed, progress=progress)
    if networks.classifier is not None:
        teller = classifier_of_run(networks.classifier, tuple(found.preparation.roles.classes or ()))
    networks.require_fit(found)
    wanted = count or len(found.names)
    labels = None if classes in (None, DOMAIN) else classes
    draw = partial(draw_patches, preparation=found.preparation, patches=found.patches, seed=seed, labels=labels)
    held_out, training = (
        draw(each, count=factor * wanted, store=store, progress=progress)
        for each, factor in zip(chosen, (1, TRAINING), strict=True)
    )
    images = held_out.images, training.images, found.images
    tables = [networks.features(each) for each in images]
    if classes is not None:
        teller = classifier_of_labels(classes, training, tables[1], held_out, tables[0])
    real, known, made = (networks.seen(each, table, teller) for each, table in zip(images, tables, strict=True))
    flips = mirrorings(flip_axes(found.flips, found.patches).values())[1:]
    known = replace(known, mirrored=tuple(networks.features(mirrored(training.images, axes)) for axes in flips))
    judged = judge(made, real, known, asked=metrics, absent=_absent(networks, teller), seed=seed)
    options = {"split": split, "train_split": train_split, "count": count, "seed": seed, "classes": classes}
    return Scores(
        "samples",
        (),
        cast(dict[str, Summary], judged.summary),
        notes=_notes(found, networks, teller, {split: len(held_out), train_split: len(training)}, wanted),
        settings={**options, "cases_sha256": sha256(table.path)},
        details=_details(found, networks, teller, judged, training, chosen[0] + chosen[1]),
    )


def sample_table(scores: Scores) -> list[tuple[str, ...]]:
    """Rows of text, the heading first: metric, samples, 95 % interval, real images, numbers of both, what is better."""
    rows: list[tuple[str, ...]] = [("metric", "samples", "95 % interval", "real images", "n", "n real", "better")]
    for name, values in cast(dict[str, Any], scores.summary).items():
        low, high = (number_text(each) for each in values["ci95"])
        between = NOTHING if NOTHING in (low, high) else f"{low} to {high}"
        numbers = (number_text(values["mean"]), between, number_text(values["real"]))
        rows.append((name, *numbers, str(values["n"]), str(values["n_real"]), BETTER.get(name, "as real")))
    return rows


def left_out(scores: Scores) -> dict[str, list[str]]:
    """By reason, the metrics that could not be computed."""
    reasons: dict[str, list[str]] = {}
    for name, values in scores.summary.items():
        if "reason" in values:
            reasons.setdefault(values["reason"], []).append(name)
    return reasons


BETTER = {
    "frechet_distance": "lower",
    "frechet_distance_infinite": "lower",
    "kernel_distance": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
    "inception_score": "higher",
    "feature_distance": "lower",
    "memorisation_statistic": "not below -2",
    "memorisation_p": "not small",
    "mean_l1": "lower",
    "mean_l2": "lower",
    "sd_l1": "lower",
    "sd_l2": "lower",
    "norm_distance": "lower",
}
"""By metric which numbers are better; of the others those that are nearest to what real images have."""


def _details(
    found: SampleSet,
    networks: Networks,
    teller: Classifier | None,
    judged: Judged,
    training: References,
    cases: Sequence[Case],
) -> dict[str, Any]:
    """What stands at the top level of the file beside the numbers."""
    details = dict(judged.details)
    if copies := details.pop("memorisation", None):
        details["memorisation"] = copies | {
            "suspicious": [
                {
                    "sample": found.names[sample],
                    "case": training.cases[index],
                    "place_mm": [round(float(mm), 3) for mm in training.places[index]],
                }
                for sample, index in copies["suspicious"]
            ]
        }
    roles = [column for role in found.preparation.roles.inputs for column in columns_of(role)]
    phantoms = sum(is_phantom(case, roles) for case in cases)
    return {
        "research_use_only": True,
        "medgen": medgen.__version__,
        **({"phantoms": _phantom_text(phantoms, len(cases))} if phantoms else {}),
        "samples": found.origin,
        "features": networks.features.origin,
        **({} if networks.discriminator is None else {"discriminator": networks.discriminator.origin}),
        **({} if teller is None else {"classifier": teller.facts}),
        "more": details,
    }


def _phantom_text(phantoms: int, of: int) -> str:
    count = "all" if phantoms == of else f"{phantoms} of {of}"
    return f"{count} real cases are phantoms (virtual patients): the scores say nothing about patients"


def _absent(networks: Networks, teller: Classifier | None) -> dict[str, str]:
    """By group of metrics, what the user would have to give."""
    absent = {}
    if teller is None:
        absent["inception"] = "no classifier is named: --classifier RUN, or --classes COLUMN"
    if networks.discriminator is None:
        absent["discriminator"] = "no discriminator is named: --discriminator RUN"
    return absent


def _notes(
    found: SampleSet, networks: Networks, teller: Classifier | None, patches: dict[Split, int], wanted: int
) -> tuple[str, ...]:
    """What a reader of the numbers must know."""
    notes = list(found.notes)
    for split, number in patches.items():
        if number < wanted:
            notes.append(f"the cases of split '{split}' have {number} different patches, not {wanted}")
    if keys := networks.features.unlike(found.preparation):
        notes.append(f"the feature network was trained on images that were prepared otherwise: {', '.join(keys)}")
    return (*notes, *(teller.notes if teller else ()))


def _cases_of(table: CaseTable, split: Split) -> tuple[Case, ...]:
    chosen = table.select(split=split)
    if not chosen:
        there = ", ".join(sorted({case.split for case in table.cases}))
        fix = f"the table has {there}: choose with --split (real images) and --train-split (those of the training)"
        raise InputError(f"no case has split '{split}'", where=table.path, fix=fix)
    return chosen


def _require_sensible(
    metrics: Sequence[str],
    split: str,
    train_split: str,
    count: int | None,
    classifier: object | None,
    classes: str | None,
) -> None:
    if wrong := [name for name in metrics if name not in GROUPS]:
        raise UsageError(f"there is no metric '{wrong[0]}'", fix=f"choose from {', '.join(GROUPS)}")
    if split == train_split:
        raise UsageError(f"--split and --train-split are both '{split}': nothing is held out", fix="e.g. --split test")
    if count is not None and count < 1:
        raise UsageError(f"--count must be at least 1, got {count}", fix="e.g. --count 500")
    if classifier is not None and classes is not None:
        raise UsageError("--classifier and --classes are two ways to one score", fix="leave out one of them")
