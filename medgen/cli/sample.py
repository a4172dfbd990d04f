"""``medgen sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule, Output
from medgen.types import Checkpoint


def sample(
    run: Path,
    /,
    *,
    output: Output,
    count: int = 16,
    seed: int = 0,
    temperature: float = 1.0,
    truncation: float | None = None,
    interpolate: Annotated[tuple[int, int] | None, Parameter(metavar="M N")] = None,
    frames: int = 24,
    neighbours: Annotated[Path | None, Parameter(metavar="CASES.csv")] = None,
    features: Annotated[Path | None, Parameter(metavar="RUN")] = None,
    overwrite: bool = False,
    checkpoint: Checkpoint | None = None,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Draw new images from a model that was trained to make them.

    The folder gets one file a sample and role: sample_0000_t1.nii.gz for a
    volume, sample_0000_t1.png for a slice (8-bit grey, the same display window
    for all; the values are in samples.npz). contact_sheet.png shows up to 64
    samples. samples.json holds seed, model, display windows and units: HU
    where the recipe gives the role a window in HU, else normalised units.

    Sample n depends on the model, the seed and n alone: --count 100 begins
    with the samples of --count 10. Slices are turned as radiologists expect:
    the patient's right is on the left, superior or anterior at the top.

    To see whether the model copies patients, name the case table that it was
    trained on: --neighbours puts the nearest training patches beside each
    sample (neighbours.png, neighbours.json) and says which samples are nearer
    to a patient than any image of test (else val) patients is. Both files
    hold images and case names of patients. What is near is told by voxels, or
    with --features by a network, which also finds a copy that was moved.

    --interpolate 3 17 shows the way from sample 3 to sample 17 of the contact
    sheet: a strip (interpolation.png), a film (interpolation.gif) and the
    values. Smooth change speaks for a model that has learnt more than its
    training images; jumps between them speak against it.

    For example:

        medgen sample run -o samples
        medgen sample run -o samples --count 100 --seed 7
        medgen sample run -o typical --truncation 0.7
        medgen sample run -o way --interpolate 3 17 --frames 48
        medgen sample run -o judged --neighbours cases.csv --features encoder

    Args:
        run: the run folder, or its 'model' folder.
        output: the folder to make; it appears when all samples are done.
        count: how many samples.
        seed: another seed gives other samples.
        temperature: factor on the standard deviation of the latent noise; below 1 images are less varied.
        truncation: components of the noise beyond so many standard deviations are drawn again, before they are
            multiplied by the temperature: typical images in place of varied ones, e.g. 0.5 (at least 0.02).
        interpolate: numbers of two samples of this seed, which may be beyond the count.
        frames: of the interpolation, both samples among them.
        neighbours: case table with the training patients: puts their nearest patches beside each sample.
        features: run of a network, such as an encoder, by whose features --neighbours says what is near.
        overwrite: replace the samples of an earlier run; a folder that holds anything else is refused.
        checkpoint: of a run that has not ended, take its last weights, or those of the best validation so
            far; what is made says so.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.inference.generation import sample as draw_samples

    with progress_display() as progress:
        folder = draw_samples(
            run,
            output,
            count=count,
            seed=seed,
            temperature=temperature,
            truncation=truncation,
            interpolate=interpolate,
            frames=frames,
            neighbours=neighbours,
            features=features,
            device=device,
            overwrite=overwrite,
            allow_modules=allow_module,
            checkpoint=checkpoint,
            progress=progress,
        )
    say(str(folder))
