"""``medgen card``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medgen.cli.parameters import TextOutput


def card(
    run: Path,
    /,
    *,
    scores: Annotated[tuple[Path, ...], Parameter(metavar="FILE")] = (),
    form: Annotated[Literal["huggingface", "monai"], Parameter(name="--form")] = "huggingface",
    output: TextOutput = None,
    overwrite: bool = False,
) -> None:
    """Write the card of a model: data, intended use, scores, limits, licence.

    The facts come from the model, its run and files of scores. Nothing is
    uploaded. What is not known is said to be so.

    For example:

        medgen card run
        medgen card run --scores scores.json -o CARD.md
        medgen card run --form monai

    Args:
        run: the run folder, or its 'model' folder.
        scores: a file of 'medgen evaluate'; repeatable; by default scores*.json in the model folder, or else in
            the run folder.
        form: huggingface: Markdown with the metadata that Hugging Face reads. monai: the fields of MONAI's
            metadata.json that say what a model is.
        output: the file to write; without it the card is printed.
        overwrite: replace an existing file.
    """
    import json

    from medgen.cli.output import write_or_say
    from medgen.report.card import as_markdown, as_monai, read_card
    from medgen.training.model_folder import files_of_run, model_folder

    found = read_card(run, scores)
    text = as_markdown(found) if form == "huggingface" else json.dumps(as_monai(found), indent=2) + "\n"
    own = (*files_of_run(run), *(model_folder(run).parent / name for name in found.scores))
    write_or_say(text, output, overwrite=overwrite, inputs=(*own, *scores))
