"""``medgen sample``."""

from __future__ import annotations

from pathlib import Path

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

    For example:

        medgen sample run -o samples
        medgen sample run -o samples --count 100 --seed 7
        medgen sample run -o typical --temperature 0.7 --overwrite

    Args:
        run: the run folder, or its 'model' folder.
        output: the folder to make; it appears when all samples are done.
        count: how many samples.
        seed: another seed gives other samples.
        temperature: factor on the standard deviation of the latent noise; below 1 images are less varied.
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
            device=device,
            overwrite=overwrite,
            allow_modules=allow_module,
            checkpoint=checkpoint,
            progress=progress,
        )
    say(str(folder))
