"""What the features of a run know: linear probes of facts that the phantom is made of, beside pixels and chance.

    python pipelines/generation/probe.py RUN CASES.csv [--count 400] [--labels label] [--layer N]

A ridge regression of the training patients' patches tells for those of the test patients where the patch lies (mm along
z) and the volume of the head; and, with ``--labels``, whether something is labelled in it. The same is done with the
pixels themselves, and with an encoder of the same kind that was not trained. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medgen.inference.features import FeatureNetwork, open_features
from medgen.inference.references import References, reference_patches

PENALTIES = np.logspace(-2, 6, 17)


def probed(train: Any, train_fact: Any, test: Any, test_fact: Any) -> float:
    """Coefficient of determination of a ridge regression on patches of patients that it has not seen."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return float(make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(train, train_fact).score(test, test_fact))


def auroc(train: Any, train_fact: Any, test: Any, test_fact: Any) -> float:
    """Area under the curve of the same regression on a fact that is true or false; 0.5 is chance."""
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(train, train_fact.astype(float))
    return float(roc_auc_score(test_fact, model.predict(test)))


def untrained(network: FeatureNetwork) -> FeatureNetwork:
    """The same network with random weights."""
    torch.manual_seed(0)
    for module in network.model.method.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return network


def main() -> None:
    """Print what each kind of features knows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--labels")
    parser.add_argument("--layer", type=int)
    options = parser.parse_args()
    network = open_features(options.run, "cpu", layer=options.layer)
    train, test = (
        reference_patches(network.model, options.cases, split=split, count=options.count, labels=options.labels)
        for split in ("train", "test")
    )
    found: dict[str, Any] = {"features": network.origin, "patches": {"train": len(train), "test": len(test)}}
    kinds: dict[str, Any] = {"features_trained": network, "pixels": lambda images: images.reshape(len(images), -1)}
    for name, kind in kinds.items():
        found[name] = facts(kind, train, test)
    found["features_untrained"] = facts(untrained(network), train, test)
    print(json.dumps(found, indent=2))


def facts(kind: Any, train: References, test: References) -> dict[str, float]:
    """R^2 of the height, and the area under the curve of the labels, on the test patients."""
    tables = kind(train.images), kind(test.images)
    scores = {"height_r2": probed(tables[0], train.places[:, 2], tables[1], test.places[:, 2])}
    if train.present is not None and test.present is not None:
        scores["labelled_auroc"] = auroc(tables[0], train.present, tables[1], test.present)
    return scores


if __name__ == "__main__":
    main()
