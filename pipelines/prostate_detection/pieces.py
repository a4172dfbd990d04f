"""Which connected pieces of each class to keep (inference.pieces), chosen on validation cases.

    python pipelines/prostate_detection/pieces.py RUN --cases cases.csv --out pieces.json

RUN is a segmentation whose recipe names its classes. Every rule is applied to the same predictions, made without any,
and scored by the Dice of its class on the cases of split val; a class that is neither there nor predicted counts for
nothing, one that is missed or invented counts 0. The best rule stands first; of equal ones the milder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from medgen.cases import read_cases
from medgen.files import write_json
from medgen.inference.labels import chosen_pieces, found_in
from medgen.inference.loading import load_model
from medgen.inference.model import LoadedModel
from medgen.metrics.overlap import dice
from medgen.recipe.prediction import InferenceConfig, PiecesConfig
from medgen.volume import class_indices, read_label

RULES = {
    "all": PiecesConfig(),
    **{f"at least {ml:g} ml": PiecesConfig(minimum_ml=ml) for ml in (0.02, 0.05, 0.1, 0.2, 0.5)},
    "largest": PiecesConfig(keep="largest"),
}


def main() -> None:
    """Predict, apply each rule to each class, print the means."""
    options = _arguments()
    model = _without_rules(load_model(options.run, device="cpu"))
    cases = read_cases(options.cases).select(split=options.split)
    values = model.preparation.roles.classes
    scores = {name: {rule: list[float]() for rule in RULES} for name in model.classes}
    pieces = {name: list[int]() for name in model.classes}
    for case in cases:
        label = model.predict(case)
        truth = class_indices(read_label(case.images[str(model.preparation.roles.labels)]).data[0], values)
        for number, name in enumerate(model.classes, start=1):
            pieces[name].append(found_in(label, model.classes)[name].components)
            for rule, config in RULES.items():
                kept, _ = chosen_pieces(label, model.classes, InferenceConfig(pieces={name: config}))
                found, true = kept.data[0] == number, truth == number
                scores[name][rule].append(dice(found, true) if found.any() or true.any() else np.nan)
    found = {
        name: {
            "pieces without a rule": {"median": float(np.median(pieces[name])), "most": max(pieces[name])},
            "dice": {rule: round(float(np.nanmean(each)), 4) for rule, each in scores[name].items()},
        }
        for name in model.classes
    }
    for each in found.values():
        each["best"] = max(each["dice"], key=lambda rule: each["dice"][rule])
    write_json(Path(options.out), {"cases": len(cases), "split": options.split, "classes": found})
    print(json.dumps(found, indent=1))


def _without_rules(model: LoadedModel) -> LoadedModel:
    inference = {**model.description["inference"], "pieces": {}, "minimum_ml": 0.0}
    return LoadedModel(model.stages, {**model.description, "inference": inference}, model.device)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--cases", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--split", default="val")
    return parser.parse_args()


if __name__ == "__main__":
    main()
