"""Devices, random state, and two processes that train as one."""

import copy
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
import two_processes
import yaml
from torch import nn

from medgen.errors import UsageError
from medgen.run.experiment import train
from medgen.training.checkpoint import load_weights
from medgen.training.engine import Engine, available_devices, channels_last, memory_format, parse_device

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
    # A mean over voxels of unequal weight is one of each process, so equal weights.
    config = {"norm": "instance", "region": "patch", "tissue_weights": [1, 1, 1]}
    settings = tiny.recipe(method="supervised", config=config, schedule={"steps": 4})
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


def test_the_memory_format_follows_the_rank():
    """A network with kernels of both ranks, which Module.to(memory_format=...) refuses."""
    network = nn.ModuleDict({"flat": nn.Conv2d(2, 3, 3), "deep": nn.Conv3d(2, 3, 3), "dense": nn.Linear(2, 3)})
    with pytest.raises(RuntimeError, match="rank 5"):
        copy.deepcopy(network).to(memory_format=torch.channels_last_3d)
    channels_last(network)
    assert network["flat"].weight.is_contiguous(memory_format=torch.channels_last)
    assert network["deep"].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert memory_format(torch.zeros(2, 2, 4, 4)) is torch.channels_last


def test_a_kernel_of_one_channel_has_the_strides_of_its_format():
    """Both formats fit it, but the strides decide which convolution runs."""
    kernel = channels_last(nn.Conv3d(1, 8, 5)).weight
    assert kernel.stride() == (125, 1, 25, 5, 1)


def test_bf16_gradients_of_maps_that_are_smaller_than_their_kernel_are_those_of_32_bits():
    """oneDNN leaves parts of them unwritten (findings/bf16_small_conv3d.sh), so they are computed in 32 bits."""
    torch.manual_seed(0)
    image, engine = torch.randn(2, 16, 2, 2, 2), Engine("cpu", precision="bf16")
    layer = nn.Conv3d(16, 32, 3, padding=1)
    (expected,) = torch.autograd.grad(layer(image).square().sum(), layer.weight)
    for _ in range(20):
        waste = [torch.full((16 * 32 * 27,), math.nan) for _ in range(4)]
        del waste  # what is read without having been written would be this
        with engine.autocast():
            loss = layer(image).square().sum()
        (found,) = torch.autograd.grad(loss, layer.weight)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_bf16_is_still_used_where_the_map_is_larger():
    with Engine("cpu", precision="bf16").autocast():
        assert nn.Conv3d(2, 2, 3, padding=1)(torch.zeros(1, 2, 4, 4, 4)).dtype is torch.bfloat16
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype is torch.bfloat16


def test_a_parameter_that_no_process_uses_counts_no_step_of_adam(tmp_path):
    """Each of two processes uses one of two parameters; a third is used by none."""
    one, two = launch(tmp_path, "unused", "-", "-")
    for state in (one, two):
        assert state["steps"].tolist() == [1, 1, 0]
        assert torch.equal(state["values"], one["values"])
    # threads of a group that outlives the interpreter abort the process now and then
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["left", "left"]
