"""Runs the commands of a document in the folder where the test stands, with less to do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from benchmark.without_processes import runs_in_this_process
from documents import Block, commands

from medgen.cli import app, main

SMALL: dict[str, dict[str, str]] = {
    "demo": {"--spacing": "8"},
    "phantom head": {"--subjects": "4", "--spacing": "8", "--workers": "1"},
    "phantom adaptation": {
        **dict.fromkeys(("--source", "--target", "--test", "--source-test"), "2"),
        **{"--spacing": "8", "--workers": "1"},
    },
    "benchmark": {"--seeds": "1", "--regimes": "source_only"},
    "sample": {"--count": "4"},
}
"""Of a command: options, and what each is for a test."""
FEWER = {"--samples": "2", "--count": "8", "--frames": "3", "--workers": "1"}
"""Options of any command, where they are there."""
SCHEDULE = ("schedule.steps=2", "schedule.batch=2", "schedule.validate_every=2", "schedule.save_every=2")
WIDTH = {"context_aware_gan": "config.width=0.05"}
"""Where it is not 0.1."""
SIZES = {"cvae": [32, 32, 32], "adversarial_detector": [32, 32, 8]}
"""Voxels of a patch, where 16 along each side are too few."""


def save_recipe(block: Block, folder: Path) -> None:
    """The recipe or plan of a document under the name that its text gives it."""
    if block.language == "yaml":
        content = yaml.safe_load(block.text)
        if "method" in content or ("regimes" in content and block.file != "recipe.yaml"):
            (folder / block.file).write_text(block.text)


def run_block(text: str, capsys: pytest.CaptureFixture[str], options: Mapping[str, Mapping[str, str]] = SMALL) -> None:
    """Run each command; one that fails or says nothing is a fault of the document, or of medgen."""
    for words in commands(text):
        run_command(words, capsys, options)


def run_command(words: list[str], capsys: pytest.CaptureFixture[str], options: Mapping[str, Mapping[str, str]]) -> None:
    assert words[0].endswith("medgen"), f"{words}: only medgen's commands are run"
    with pytest.raises(SystemExit) as ended, runs_in_this_process():
        main(small(words[1:], options))
    said = capsys.readouterr()
    assert not ended.value.code, f"{words}: {said.err}"
    assert said.out.strip(), words


def small(words: Sequence[str], options: Mapping[str, Mapping[str, str]] = SMALL) -> list[str]:
    """The same command with less to do."""
    words = list(words)
    if words[0].startswith("-"):
        return words
    for option, value in FEWER.items():
        if option in words:
            words[words.index(option) + 1] = value
    names = words[: 1 + (words[0] in app and words[1:2] != [] and words[1] in app[words[0]])]
    for option, value in options.get(" ".join(names), {}).items():
        if option in words:
            at = words.index(option) + 1
            words[at : at + len(value.split())] = value.split()
        else:
            words += [option, *value.split()]
    if words[0] in {"train", "benchmark"} and "--help" not in words:
        words += [each for setting in settings(words) for each in ("--set", setting)]
    return words


def settings(words: Sequence[str]) -> list[str]:
    """What makes the training of these words a matter of a second: patches as small as the networks take them."""
    recipe = yaml.safe_load(Path(words[1]).read_text())
    method, config = recipe["method"], recipe.get("config", {})
    method = next((word.removeprefix("method=") for word in words if word.startswith("method=")), method)
    sides = len(recipe["patches"]["size"]) if "patches" in recipe else 3
    deepmedic = config.get("network") == "deepmedic"
    size = [61] * 3 if deepmedic else SIZES.get(method, [16] * sides)
    found = [*SCHEDULE, "preparation.spacing=null", f"patches.size={size}"]
    if size == [16] * 3 and method != "progressive_gan":
        found.append("inference.size=[32,32,32]")
    if not deepmedic and "." not in method:  # nobody knows the settings of a reader's own method
        found.append(WIDTH.get(method, "config.width=0.1"))
    return [each.replace(" ", "") for each in found]
