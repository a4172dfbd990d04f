"""Commands in help and in documents: parsed against the real command line."""

import shlex

from medgen.cli import app

COMMANDS = {
    "demo": "--out --spacing --set",
    "phantom head": "OUT --subjects --seed --domain --spacing --misalignment --lesions --stripped",
    "phantom adaptation": "OUT --source --target --test --source-test --validation --seed --spacing --pair "
    "--randomised",
    "phantom tissues": "OUT --subjects --scans --seed --spacing --overwrite --workers",
    "phantom prostate": "OUT --subjects --train --validation --test --seed --positive --spacing --native-diffusion",
    "cases from-nnunet": "FOLDER --output -o --validation --overwrite",
    "cases from-msd": "FOLDER --output -o --validation --split-into --overwrite",
    "cases from-bids": "FOLDER --output -o --validation --test --prefer --overwrite",
    "cases from-picai": "FOLDER --output -o --labels --validation --test --overwrite",
    "cases from-samples": "FOLDER --label --output -o --validation",
    "check": "CASES --recipe --classes",
    "fix": "INPUT --output -o --series --fill-gaps --resample --label --geometry --frame --overwrite",
    "dicom list": "FOLDER --json",
    "dicom write": "RESULT --source --output -o --as --classes --description --series --anonymize --overwrite",
    "prepare": "RECIPE --cases --store --set",
    "train": "RECIPE --cases --out --set --resume --init-from --max-minutes --device --devices --nodes --precision "
    "--allow-module",
    "watch": "RUN --cases --case --port --every --device --open",
    "predict": "RUN --input -i --output -o --overwrite --resume --nan --geometry --frame --probabilities "
    "--threshold --uncertainty --samples --dropout --interval --keep-samples --guard --dicom --contours --anonymize "
    "--bids --device --engine",
    "mask": "INPUT --output -o --of --role --strip --model --overwrite --resume --device",
    "calibrate": "RUN --input -i --split --samples --dropout --seed --coverage --by-tissue --guaranteed --accept "
    "--max-mae --mask-role --ensemble --device --allow-module",
    "sample": "RUN --output -o --count --seed --temperature --truncation --interpolate --frames --neighbours "
    "--features --device --overwrite --allow-module",
    "latent encode": "RUN --input -i --output -o --patches --seed --split --device --overwrite --allow-module",
    "latent traverse": "RUN --output -o --codes --along --count --reach --steps --factor --table "
    "--case --overwrite --device",
    "latent interpolate": "RUN --input -i --from --to --output -o --steps --overwrite --device --allow-module",
    "latent map": "RUN CODES --output -o --by --colour --table --thumbnails --seed --overwrite --device",
    "latent reconstruct": "RUN --input -i --output -o --patches --seed --split --overwrite --device --allow-module",
    "latent probe": "CODES --table --factor --run --input -i --output -o --seed --device --allow-module",
    "novelty fit": "RUN --input -i --patches --seed --overwrite --device --allow-module",
    "evaluate likelihood": "RUN --input -i --output -o --odd --split --patches --device --allow-module",
    "evaluate synthesis": "PREDICTIONS REFERENCES --output -o --baselines --store",
    "evaluate segmentation": "PREDICTIONS REFERENCES --output -o --role --classes --split --domain --tolerance "
    "--baselines --store",
    "evaluate detection": "PREDICTIONS REFERENCES --output -o --compare --role --least-grade --tumour --split "
    "--baselines --store",
    "evaluate samples": "SAMPLES CASES --features --output -o --layer --classifier --classes --discriminator --metric "
    "--split --train-split --count --seed --store --device --allow-module",
    "reader-study make": "REAL SYNTHETIC --output -o --task --count --repeats --seed --role --split --window",
    "reader-study serve": "STUDY --port --open",
    "reader-study score": "STUDY --output -o --answers",
    "benchmark": "RECIPE --cases --out --regimes --plan --seeds --folds --workers --set --shifted --table-only --reuse",
    "report": "FOLDER --output -o --cases --no-viewer",
    "card": "RUN --scores --form --output -o --overwrite",
    "export": "RUN --output -o --as --scores --overwrite --allow-module",
    "models": "--json --available",
    "recipe": "METHOD --output -o --overwrite --allow-module",
    "schema": "--output -o --overwrite",
    "completion": "SHELL --output -o --overwrite",
}
"""Every command with the arguments and options that are promised to users."""


def parse(command: str) -> None:
    """Parse one ``medgen ...`` line as the command line would; an unknown word or option raises."""
    words = shlex.split(command)
    assert words[0] == "medgen", command
    parse_words(words[1:])


def parse_words(words: list[str]) -> None:
    """The same for the words after ``medgen``; ``$variable`` of a script is left out."""
    words = [word for word in words if not word.startswith("$") and word not in ("--debug", "--json")]
    if words and words[0] not in {"--version", "--help"} and words[-1] != "--help":
        app.parse_args(words, exit_on_error=False, print_error=False)


def lines_of(text: str) -> list[str]:
    """The ``medgen ...`` lines of a text, with continued lines joined and comments left out."""
    joined = text.replace("\\\n", " ")
    lines = (line.strip().split(" #")[0].removeprefix(".venv/bin/") for line in joined.splitlines())
    return [line for line in lines if line.startswith("medgen ")]
