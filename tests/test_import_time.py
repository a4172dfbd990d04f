"""Help and ``import medgen`` are quick because they load nothing heavy; a prediction loads what it uses."""

import os
import resource
import subprocess
import sys

import pytest
import tiny
from cli_commands import COMMANDS

from medgen import train

HEAVY = {"torch", "monai", "numpy", "scipy", "nibabel", "SimpleITK", "sklearn", "skimage", "matplotlib", "pydantic"}
HEAVY |= {"onnx", "onnxruntime", "lightning_fabric", "highdicom", "pydicom", "yaml", "jinja2"}

RUN = """
import sys
from medgen.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exit_:
    assert not exit_.code, exit_.code
print("loaded:", *(name for name in sys.modules if "." not in name))
"""


@pytest.mark.parametrize("words", ["--help", "--version", *(f"{command} --help" for command in COMMANDS)])
def test_help_is_quick_and_loads_nothing_heavy(words):
    seconds = []
    for _ in range(3):  # the machine may be busy: the quickest of three counts, in seconds of processor time
        before = _processor_seconds()
        out = _python("-c", RUN, *words.split())
        seconds.append(_processor_seconds() - before)
        if seconds[-1] < 0.5:
            break
    assert not HEAVY & set(out.split("loaded:")[1].split())
    assert min(seconds) < 0.5


def test_import_is_quick_and_loads_nothing_heavy():
    program = "import sys, time; t = time.process_time(); import medgen; print(time.process_time() - t, *sys.modules)"
    runs = [_python("-c", program).split() for _ in range(3)]
    assert not HEAVY & set(runs[0][1:])
    assert min(float(run[0]) for run in runs) < 0.1


def test_a_prediction_loads_nothing_that_only_training_needs(tmp_path):
    """With boosted trees as the context, the default, and a U-Net."""
    table = tiny.write_cases(tmp_path, train=2, val=0)
    recipe = {**tiny.recipe(schedule={"steps": 1}), "method": "supervised"}
    run = train(recipe, table, tmp_path / "run", device="cpu")
    assert (run / "model" / "context.safetensors").exists()
    words = ("predict", str(run), "-i", str(tmp_path / "case2_t1.nii.gz"), "-o", str(tmp_path / "ct.nii.gz"))
    loaded = set(_python("-c", RUN, *words).split("loaded:")[1].split())
    assert {"torch", "nibabel"} <= loaded
    assert (
        not {
            "onnx",
            "onnxruntime",
            "lightning_fabric",
            "monai",
            "sklearn",
            "SimpleITK",
            "matplotlib",
            "jinja2",
            "pandas",
        }
        & loaded
    )


def _python(*words: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
