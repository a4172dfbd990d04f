"""What the features of a run know: linear probes of facts that the phantom is made of, beside pixels and no training.

    python pipelines/generation/probe.py RUN CASES.csv [--count 400] [--labels label] [--layer N]

A ridge regression on the training patients' patches tells for those of the test patients at which height the patch
lies (mm along z); with ``--labels``, whether something is labelled in it; and of which scanner it is, where the table
has two domains. The same is done with the pixels themselves, and with the same network before any training. Then: how
far blurred and noisy patches are from the same patches without, beside the training patients'. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from medgen.inference.features import FeatureNetwork, open_features
from medgen.inference.references import References, reference_patches
from medgen.metrics.distribution import kernel_distance

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
    found["kernel_distance"] = seen(network, train.images, test.images)
    found["features_untrained"] = facts(untrained(network), train, test)
    print(json.dumps(found, indent=2))


def facts(kind: Any, train: References, test: References) -> dict[str, float]:
    """R^2 of the height, and the areas under the curve of labels and domains, on the test patients."""
    tables = kind(train.images), kind(test.images)
    scores = {"height_r2": probed(tables[0], train.places[:, 2], tables[1], test.places[:, 2])}
    known = {"labelled": [each.present for each in (train, test)]}
    known["domain"] = [np.array([domain == "target" for domain in each.domains]) for each in (train, test)]
    for name, (one, two) in known.items():
        if one is not None and two is not None and len(set(one)) == len(set(two)) == 2:
            scores[f"{name}_auroc"] = auroc(tables[0], one, tables[1], two)
    return scores


def seen(network: FeatureNetwork, train: Any, test: Any) -> dict[str, float]:
    """Kernel distance of held-out patches to training patches, and to themselves made worse; 1 unit is a mean SD."""
    scale = network(test).std(axis=0).mean()
    noise = np.random.default_rng(0).normal(0, 0.1, test.shape).astype(np.float32)
    others = {"training": train, "noise of 0.1": test + noise}
    for sigma in (0.5, 0.7, 1.0):
        others[f"blurred by {sigma} voxels"] = gaussian_filter(test, (0, 0, *[sigma] * (test.ndim - 2)))
    return {name: kernel_distance(network(test) / scale, network(each) / scale).value for name, each in others.items()}


if __name__ == "__main__":
    main()
