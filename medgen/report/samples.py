"""Samples of a generator in a report: pictures, nearest training patches, and the scores of ``evaluate samples``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from medgen.errors import content_errors
from medgen.evaluation.scores import NOTHING, number_text
from medgen.files import sha256
from medgen.inference.sample_folder import MANIFEST, NEIGHBOURS
from medgen.report.content import read_json
from medgen.report.drawing import Picture

TASK = "samples"

_MEANINGS = {
    "frechet_distance": ("Fréchet distance", "how far the features of samples are from those of real images"),
    "frechet_distance_infinite": ("Fréchet distance, ∞", "the same, extrapolated to infinitely many images"),
    "kernel_distance": ("kernel distance", "the same by a kernel, also of few images; around 0 for equal ones"),
    "precision": ("precision", "share of samples that look like real images"),
    "recall": ("recall", "share of real images that the generator could have made"),
    "density": ("density", "how many real images a sample is near to"),
    "coverage": ("coverage", "share of real images with a sample near by"),
    "inception_score": ("inception score", "whether a classifier is sure of each sample, and sees all classes"),
    "feature_distance": ("distance of layers", "in the layers of a discriminator"),
    "memorisation_statistic": ("memorisation", "below −2: nearer to training images than unseen ones are (copies)"),
    "memorisation_p": ("p of memorisation", "small: copies, if it is not for smooth samples"),
    "ms_ssim": ("MS-SSIM of pairs", "above that of real images: too little variety"),
}


class MetricRow(NamedTuple):
    """One metric of samples, as text.

    Attributes:
        heading: for people.
        meaning: one clause; empty for a metric that has none.
        value: of the samples.
        interval: 95 %, or empty.
        real: what real images of the training patients reach.
        better: which numbers are.
        reason: why there is no number, or empty.
    """

    heading: str
    meaning: str
    value: str
    interval: str
    real: str
    better: str
    reason: str


@dataclass(frozen=True)
class Judgement:
    """One file of scores of samples.

    Attributes:
        name: of the file.
        content: of it.
    """

    name: str
    content: Mapping[str, Any]

    @property
    def of(self) -> str:
        """SHA-256 of the ``samples.json`` that it is of; empty for volumes made elsewhere."""
        return str((self.content.get("samples") or {}).get("sha256") or "")

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers must know, with the network that computed features."""
        network = self.content.get("features") or {}
        told = f"features of {network.get('method')}, layer {network.get('layer')}, weights " if network else ""
        notes = [f"{told}{str(network.get('weights_sha256'))[:12]}"] if network else []
        phantoms = [str(self.content["phantoms"])] if self.content.get("phantoms") else []
        return [*phantoms, *notes, *map(str, self.content.get("notes") or ())]

    @property
    def rows(self) -> list[MetricRow]:
        """The metrics in the order of the file."""
        from medgen.evaluation.samples import BETTER

        rows = []
        for key, values in self.content["summary"].items():
            heading, meaning = _MEANINGS.get(key, (key.replace("_", " "), ""))
            low, high = (_number(each) for each in values.get("ci95") or (None, None))
            interval = "" if NOTHING in (low, high) else f"{low} to {high}"
            numbers = (_number(values.get("mean")), interval, _number(values.get("real")))
            rows.append(
                MetricRow(heading, meaning, *numbers, BETTER.get(key, "as real"), str(values.get("reason") or ""))
            )
        return rows


def _number(value: float | None) -> str:
    return number_text(math.nan if value is None else value).replace("-", "−")


@dataclass(frozen=True)
class SampleFolder:
    """What ``medgen sample`` wrote into one folder.

    Attributes:
        path: of the folder.
        content: of ``samples.json``.
        neighbours: content of ``neighbours.json``; None without.
    """

    path: Path
    content: Mapping[str, Any]
    neighbours: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.path.resolve().name

    @property
    def weights(self) -> str:
        """SHA-256 of the weights that made them."""
        return str((self.content.get("model") or {}).get("weights_sha256") or "")

    @property
    def told(self) -> str:
        """How they were drawn."""
        values = self.content
        cut = f", truncation {values['truncation']:g}" if values.get("truncation") is not None else ""
        return f"{values['count']} drawn, seed {values['seed']}, temperature {values['temperature']:g}{cut}"

    @property
    def copies(self) -> tuple[bool, str] | None:
        """Whether none is suspected to be a copy of a patient, and a sentence; None without a comparison."""
        if self.neighbours is None:
            return None
        rows = self.neighbours["samples"]
        flagged = [row for row in rows if row["nearer_than_any_held_out"]]
        if self.neighbours["held_out"] is None:
            return (
                False,
                "No held-out patients to compare with, so nobody can say which distance is suspiciously small.",
            )
        others = f"than any of {self.neighbours['held_out']['patches']} patches of patients that the model has not seen"
        expected = float(self.neighbours["expected"])
        chance = f"chance alone gives up to {expected:.2g} on average"
        if not flagged:
            return (
                True,
                f"None of {len(rows)} samples is nearer to a training patch {others} ({chance}). "
                "This is no proof of privacy.",
            )
        cases = [f"sample {row['sample']} ({row['nearest'][0]['case']})" for row in flagged[:8]]
        smooth = ""
        if self.neighbours["distance"]["of"] == "voxels":
            smooth = (
                " In voxels a blurred sample is near to every image; 'medgen sample --features' compares by a network."
            )
        more = f" and {len(flagged) - 8} more" if len(flagged) > 8 else ""
        return False, (
            f"{len(flagged)} of {len(rows)} samples are nearer to a training patch {others} ({chance}): "
            f"look whether they are copies: {', '.join(cases)}{more}.{smooth}"
        )

    def pictures(self) -> Iterator[tuple[str, Callable[[], Picture]]]:
        """The pictures of the folder that are there."""
        way = self.content.get("interpolation") or {}
        sides = self.content.get("pictures") or "middle slices; the patient's right on the left"
        ends = " to sample ".join(map(str, way.get("samples") or ()))
        listed = (self.content.get("neighbours") or {}).get("picture")
        told = (
            ("Contact sheet", self.content.get("contact_sheet"), f"Samples: {self.told}; {sides}."),
            ("The way between two samples", way.get("strip"), f"From sample {ends}, on the arc between both codes."),
            ("The same as a film", way.get("film"), f"From sample {ends} and back, {way.get('frames')} frames."),
            (
                "Nearest training patches",
                listed,
                "Each sample beside the training patches nearest to it, with case and distance; below, for scale, real "
                "patches of patients that the model has not seen. It shows patients: do not pass this page on without "
                "asking who may see the case table.",
            ),
        )
        for heading, name, caption in told:
            if name and (self.path / str(name)).is_file():
                yield f"{heading.lower()} of {self.name}", partial(self._picture, str(name), heading, caption)

    def _picture(self, name: str, heading: str, caption: str) -> Picture:
        data = (self.path / name).read_bytes()
        stem, ending = Path(name).stem, Path(name).suffix.removeprefix(".")
        return Picture(f"{self.name}_{stem}", f"samples {self.name}", heading, caption, data, data, media=ending)


def find_samples(folder: Path) -> tuple[SampleFolder, ...]:
    """The folders of samples in a folder, or that itself is one, by name.

    Raises:
        InputError: a list of samples is damaged.
    """
    places = [folder, *sorted(place for place in folder.iterdir() if place.is_dir())]
    return tuple(_read(place) for place in places if (place / MANIFEST).is_file())


def _read(place: Path) -> SampleFolder:
    content = read_json(place / MANIFEST)
    near = read_json(place / NEIGHBOURS) if (place / NEIGHBOURS).is_file() else None
    found = SampleFolder(place, content, near)
    again = "draw the samples again with 'medgen sample'"
    with content_errors("the list of samples is damaged", where=place / NEIGHBOURS, fix=again):
        _ = found.copies, (near or {}).get("picture")
    with content_errors("the list of samples is damaged", where=place / MANIFEST, fix=again):
        _ = found.told, found.weights, list(found.pictures())
    return found


def find_judgements(folder: Path, samples: Sequence[SampleFolder]) -> tuple[Judgement, ...]:
    """The scores of samples in a folder: ``scores.json``, ``scores/*.json``, and ``scores.json`` of folders in it."""
    places = dict.fromkeys((folder, *(each.path for each in samples), *(p for p in folder.iterdir() if p.is_dir())))
    files = [*(place / "scores.json" for place in places), *sorted((folder / "scores").glob("*.json"))]
    found = []
    for path in dict.fromkeys(files):
        if path.is_file() and of_samples(path):
            judgement = Judgement(str(path.relative_to(folder)), read_json(path))
            fix = "write them again with 'medgen evaluate samples'"
            with content_errors("the scores of samples are damaged", where=path, fix=fix):
                _ = judgement.rows, judgement.notes, judgement.of
            found.append(judgement)
    return tuple(found)


def of_samples(path: Path) -> bool:
    """Whether a file of scores is of samples, which have no cases."""
    return read_json(path).get("task") == TASK


def unlike_samples(
    samples: Sequence[SampleFolder], judgements: Sequence[Judgement], weights: str | None
) -> tuple[str, ...]:
    """Sentences on samples, scores and a run that do not fit together."""
    doubts = [
        f"the samples in {each.name}/ were made by weights {each.weights[:12]}, not by those of the run shown here"
        for each in samples
        if weights and each.weights and each.weights != weights
    ]
    known = {sha256(each.path / MANIFEST) for each in samples}
    doubts += [
        f"{each.name} scores other samples than those shown here; evaluate again"
        for each in judgements
        if known and each.of and each.of not in known
    ]
    return tuple(doubts)
