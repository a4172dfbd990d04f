"""``medgen evaluate samples``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule, Output
from medgen.types import Split

Run = Annotated[Path | None, Parameter(metavar="RUN")]


def samples(
    samples: Path,
    cases: Path,
    /,
    *,
    features: Annotated[Path, Parameter(metavar="RUN")],
    output: Output = Path("scores.json"),
    layer: int | None = None,
    classifier: Run = None,
    classes: Annotated[str | None, Parameter(metavar="COLUMN")] = None,
    discriminator: Run = None,
    metrics: Annotated[tuple[str, ...], Parameter(name="--metric", metavar="NAME")] = (),
    split: Split = "test",
    train_split: Split = "train",
    count: int | None = None,
    seed: int = 0,
    store: Path | None = None,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Judge samples of a generator by real images it has not seen.

    Distances of distributions (Frechet, kernel), precision and recall,
    density and coverage, a test for copies of training images, variety, and
    norms of the pixels; with a classifier the inception score, with a
    discriminator the distance of its layers. Beside each number stands what
    images of the training patients reach in place of the samples: no
    generator can be expected to do better.

    Features come from a network of yours: an encoder trained on the same
    images without labels (method vicreg), a segmenter, a VAE. Numbers of
    different networks cannot be compared. A metric that so few images do
    not support is left out, and the reason is given.

    For example:

        medgen evaluate samples samples cases.csv --features encoder
        medgen evaluate samples samples cases.csv --features encoder --classes label --discriminator gan

    Args:
        samples: the folder that 'medgen sample' wrote, or volumes of another tool as <name>_<role>.nii.gz.
        cases: the case table with the real images.
        features: run whose network computes features of images.
        output: the JSON file of scores to write.
        layer: number of the layer of that network, from 1; by default the one with the most channels.
        classifier: run of a segmentation of several classes, for the inception score.
        classes: instead of a classifier, the column of the classes that one is trained on here: 'domain', or the role
            of a label map, to tell patches with a label from those without.
        discriminator: run whose discriminator (or other network) compares images layer by layer.
        metrics: compute only this metric, and fail if it cannot be computed; repeatable. One of frechet,
            frechet_infinite, kernel, fidelity, inception, discriminator, memorisation, diversity, pixels.
        split: real images that the samples are compared with.
        train_split: real images that the generator learnt from.
        count: use this many samples and as many real patches of each split; by default all samples.
        seed: of the places of real patches.
        store: folder of prepared cases, as of 'medgen train --store'; what it lacks is added.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that a model may name as its method; repeatable.
    """
    from medgen.cli.output import answer_file, note, say, show_table
    from medgen.cli.progress import progress_display
    from medgen.evaluation.samples import evaluate_samples, left_out, sample_table
    from medgen.evaluation.scores import require_scores

    require_scores(output)
    with progress_display() as progress:
        scores = evaluate_samples(
            samples,
            cases,
            features=features,
            layer=layer,
            classifier=classifier,
            classes=classes,
            discriminator=discriminator,
            metrics=metrics,
            split=split,
            train_split=train_split,
            count=count,
            seed=seed,
            store=store,
            device=device,
            allow_modules=allow_module,
            progress=progress,
        )
    scores.write(output)
    answer_file(output)
    heading, *rows = sample_table(scores)
    show_table(heading, rows)
    for reason, names in left_out(scores).items():
        note(f"left out {', '.join(names)}: {reason}")
    for text in (*scores.notes, *filter(None, [scores.details.get("phantoms")])):
        note(text)
    say(str(output))
