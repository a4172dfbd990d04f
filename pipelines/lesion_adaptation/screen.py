"""Which pairs of scanners have the gap of the paper? Boosted trees say in half a minute what a network says in an hour.

    python pipelines/lesion_adaptation/screen.py --out runs/screen
    python pipelines/lesion_adaptation/screen.py --out runs/screen --settings high_pass=60 oedema=150 blood=1.5

Of each pair, on a phantom at 3 mm that is never written: trees (medgen's voxel-wise baseline) learn from source heads
with all of T2, FLAIR and GE, from source heads without GE, and from target heads with SWI in its place. Their Dice on
test heads of both domains goes into ``screen.json``; what is there is not measured again. What is promising goes to
DeepMedic (``pairs.py``). Trees cannot tell shapes, so their numbers are lower, and their order is what counts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.baselines.classifiers import BoostedClasses, fit_boosted_classes
from medgen.baselines.regressors import BoostingConfig
from medgen.errors import UsageError
from medgen.files import write_json
from medgen.phantom.grid import field_of_view
from medgen.phantom.head.acquisition import make_scanner, scan_mr
from medgen.phantom.head.anatomy import Anatomy, build_head
from medgen.phantom.head.lesions import Disease, draw_findings
from medgen.phantom.head.pairs import Pair
from medgen.phantom.head.pathology import add_lesions, brain_mask
from medgen.phantom.head.template import load_template
from medgen.phantom.head.tissues import subject_tissues
from medgen.phantom.randomness import REALISATION, SCANNER, SUBJECT, Stream

SPACING = 3.0
GROUPS = {"source": (8, 4), "target": (8, 8)}
"""Training and test heads of each domain."""
TREES = BoostingConfig(trees=60)
ROLES = {"source": ("t2", "flair", "ge"), "target": ("t2", "flair", "swi")}
BASE: dict[str, Any] = {
    "high_pass": 30, "echo": 40, "oedema": 150, "blood": 1.5, "distractors": (4, 7), "convex": 0.5, "alike": True,
}  # fmt: skip
"""The pair around which one setting, or two, are changed."""
CHANGES: tuple[dict[str, Any], ...] = (
    {"high_pass": 20}, {"high_pass": 40}, {"high_pass": 60}, {"echo": 20}, {"echo": 30}, {"echo": 50},
    {"high_pass": 60, "echo": 20}, {"high_pass": 20, "echo": 20}, {"oedema": 140}, {"oedema": 170}, {"oedema": 200},
    {"blood": 1.2}, {"blood": 1.8}, {"distractors": (1, 3)}, {"distractors": (6, 9)}, {"convex": 0.0},
    {"convex": 1.0}, {"shallow": 1.0}, {"shallow": 1.0, "distractors": (6, 9)}, {"alike": False},
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    """A head as the trees read it: channels in the order of :data:`ROLES`, z-scored in the mask."""

    name: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    mask: NDArray[np.bool_]

    def without_shifted(self) -> Head:
        """The same without GE or SWI."""
        return replace(self, image=self.image[:2])


@cache
def healthy(seed: int, index: int) -> Anatomy:
    """A head before it has lesions; the same for all pairs."""
    head = build_head(load_template(SPACING), Stream(seed, SUBJECT, index), field_of_view(SPACING))
    return replace(head, fractions=head.fractions.astype(np.float32))


def scanned(pair: Pair, seed: int, domain: str, index: int) -> Head:
    """One patient of a pair in memory, as ``make_adaptation_phantom`` would write it."""
    subject = Stream(seed, SUBJECT, index)
    anatomy = healthy(seed, index)
    anatomy = replace(anatomy, fractions=anatomy.fractions.astype(np.float64))
    findings = draw_findings(load_template(SPACING), anatomy.mapping, subject, pair.disease)
    anatomy, label = add_lesions(anatomy, findings, subject)
    both = {name: make_scanner(name, Stream(seed, SCANNER, number)) for number, name in enumerate(ROLES)}
    scanner = pair.scanner(both[domain], both["source"])
    tissues, roles = pair.tissues(subject_tissues(subject)), ROLES[domain]
    images = scan_mr(anatomy, tissues, scanner, Stream(seed, REALISATION, index), roles)
    mask = brain_mask(anatomy)
    channels = [(images[role] - images[role][mask].mean()) / images[role][mask].std() * mask for role in roles]
    return Head(f"{domain}_{index}", np.stack(channels).astype(np.float32), (label & mask).astype(np.uint8), mask)


def measure(pair: Pair, seed: int) -> dict[str, float]:
    """Mean Dice of the four situations, and of the source without the channel on its own domain."""
    heads = {
        domain: [scanned(pair, seed, domain, 1000 * place + index) for index in range(sum(counts))]
        for place, (domain, counts) in enumerate(GROUPS.items())
    }
    learnt = {domain: heads[domain][: GROUPS[domain][0]] for domain in heads}
    tests = {domain: heads[domain][GROUPS[domain][0] :] for domain in heads}
    fewer = {domain: [head.without_shifted() for head in group] for domain, group in tests.items()}
    source, target = (fit_boosted_classes(learnt[domain], 1, TREES) for domain in ROLES)
    without = fit_boosted_classes([head.without_shifted() for head in learnt["source"]], 1, TREES)
    return {
        "s_on_s": dice(source, tests["source"]),
        "s_on_t": dice(source, tests["target"]),
        "without_on_t": dice(without, fewer["target"]),
        "without_on_s": dice(without, fewer["source"]),
        "t_on_t": dice(target, tests["target"]),
    }


def dice(trees: BoostedClasses, heads: Sequence[Head]) -> float:
    """Mean over heads."""
    found = []
    for head in heads:
        chosen = (trees.predict(head.image)[1] > 0.5) & head.mask
        true = head.label > 0
        found.append(2 * np.count_nonzero(chosen & true) / max(1, chosen.sum() + true.sum()))
    return float(np.mean(found))


def pair_of(settings: dict[str, Any]) -> Pair:
    """The pair that differs from the first one by ``settings``."""
    names = Disease.__dataclass_fields__
    disease = Disease(**{key: value for key, value in settings.items() if key in names})
    return Pair(disease=disease, **{key: value for key, value in settings.items() if key not in names})


def settings_of(named: Sequence[str]) -> dict[str, Any]:
    """Of ``KEY=JSON``, the values."""
    known = {*Pair.__dataclass_fields__, *Disease.__dataclass_fields__} - {"disease"}
    try:
        values = {key: json.loads(value) for key, value in (each.split("=", 1) for each in named)}
        if unknown := values.keys() - known:
            raise ValueError(f"'{min(unknown)}' is none of {', '.join(sorted(known))}")
        settings = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        pair_of(settings)
    except (ValueError, TypeError, UsageError) as error:
        raise SystemExit(f"--settings: {error}") from None
    return settings


def chosen(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The settings of each pair."""
    if options.settings:
        yield settings_of(options.settings)
        return
    yield from ({}, BASE)
    yield from (BASE | change for change in CHANGES)


def main() -> None:
    """Measure what is missing, and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000], help="of the phantom")
    parser.add_argument("--settings", nargs="+", metavar="KEY=JSON", help="one pair, in place of the whole map")
    options = parser.parse_args()
    file = options.out / "screen.json"
    known = json.loads(file.read_text()) if file.is_file() else []
    for settings in chosen(options):
        for seed in options.seeds:
            pair = asdict(pair_of(settings))
            if not any(each["pair"] == json.loads(json.dumps(pair)) and each["seed"] == seed for each in known):
                known.append({"seed": seed, "settings": settings, "pair": pair, **measure(pair_of(settings), seed)})
                known = json.loads(json.dumps(known))
                write_json(file, known)
                shown = {key: round(100 * value, 1) for key, value in known[-1].items() if "_on_" in key}
                print(seed, json.dumps(settings), shown, flush=True)


if __name__ == "__main__":
    main()
