"""``medgen novelty fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from medgen.cli.parameters import DEFAULTS, AllowModule

app = App(name="novelty", help="Let a generative model tell odd images.", sort_key=7.7, default_parameter=DEFAULTS)


@app.command
def fit(
    run: Path,
    /,
    *,
    cases: Annotated[Path, Parameter(name=["--input", "-i"])],
    patches: int = 16,
    seed: int = 0,
    overwrite: bool = False,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Learn which scores of a generative model are usual.

    Scores the training and validation cases by likelihood, likelihood with
    the complexity of the image taken off, reconstruction error and latent
    code, as far as the method has them (a VAE has all four). The scores of
    the validation cases and a limit are stored with the model, as
    novelty.json beside its weights. Then 'medgen predict --guard RUN' warns
    of a patient beyond the limit, and 'medgen evaluate likelihood RUN' lists
    the scores of cases.

    For example:

        medgen novelty fit vae -i cases.csv
        medgen predict run -i cases.csv -o predictions --guard vae

    Args:
        run: the run folder of the generative model, or its 'model' folder.
        cases: the case table of its training, with at least 3 training and 3 validation cases.
        patches: how many of each case are scored, at fixed places in its body.
        seed: of the places.
        overwrite: fit again.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.inference.novelty_fitting import fit_novelty

    with progress_display() as progress:
        written = fit_novelty(
            run,
            cases,
            patches=patches,
            seed=seed,
            device=device,
            overwrite=overwrite,
            allow_modules=allow_module,
            progress=progress,
        )
    say(str(written))
