"""Devices, random state, and two processes that train as one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
import two_processes
import yaml

from medgen.errors import UsageError
from medgen.run.experiment import train
from medgen.training.checkpoint import load_weights
from medgen.training.engine import Engine, available_devices, parse_device

HERE = Path(__file__).parent


def launch(folder, method, generator, norm):
    """Two processes on this machine, as on a cluster."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    command += [str(HERE / "two_processes.py"), str(folder), method, generator, norm]
    subprocess.run(command, check=True, timeout=200, cwd=HERE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_processes_end_with_identical_weights_with_batch_norm_and_two_optimizers(tmp_path):
    one, two = launch(tmp_path, "context_aware_gan", "unet", "batch")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_two_processes_have_the_gradient_of_one_with_the_joined_batch(tmp_path):
    one, two = launch(tmp_path, "supervised", "unet", "instance")  # instance norm: no patch depends on its batch
    joined = two_processes.run(Engine("cpu"), "supervised", "unet", "instance")
    for name in joined:
        assert torch.equal(one[name], two[name])
        if name.startswith("gradient."):
            torch.testing.assert_close(one[name], joined[name], rtol=1e-4, atol=1e-6)


def test_the_command_line_trains_in_two_processes(tmp_path):
    """Same patches, same steps: close to one process, not bit for bit (sums in another order)."""
    cases = tiny.write_cases(tmp_path / "cases")
    settings = tiny.recipe(method="supervised", config={"norm": "instance"}, schedule={"steps": 4})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "medgen", "train", str(tmp_path / "recipe.yaml"), "--cases", str(cases)]
    command += ["--out", str(tmp_path / "two"), "--device", "cpu", "--devices", "2"]
    subprocess.run(command, check=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"})
    train(settings, cases, tmp_path / "one", device="cpu")
    one, two = (load_weights(tmp_path / run / "model" / "weights.safetensors") for run in ("one", "two"))
    for name in one:
        if one[name].dim() > 1:  # a bias in front of a normalisation has no gradient, and Adam steps on its rounding
            torch.testing.assert_close(one[name], two[name], rtol=1e-2, atol=1e-3)


def test_auto_is_the_best_device_here():
    assert parse_device("auto")[0] == available_devices()[-1].partition(":")[0]
    assert parse_device("cpu") == ("cpu", None)


@pytest.mark.parametrize("name", ["cuda:9", "tpu", "cpu:x"])
def test_a_device_that_is_not_here_names_those_that_are(name):
    with pytest.raises(UsageError, match=f"no device '{name}' here") as error:
        Engine(name)
    assert "cpu" in error.value.fix


def test_random_state_is_a_function_of_seed_and_step_and_is_given_back():
    engine = Engine("cpu")
    state = torch.random.get_rng_state()
    draws = []
    for seed, number in ((0, 5), (0, 5), (0, 6), (1, 5)):
        with engine.reproducible(seed, number):
            draws.append(torch.rand(2))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])
    assert torch.equal(torch.random.get_rng_state(), state)
