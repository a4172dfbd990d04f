"""Where training runs: device, precision, processes and nodes, on Lightning Fabric."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from medgen.errors import UsageError

Batch = TypeVar("Batch")
Network = TypeVar("Network", bound=nn.Module)


log = logging.getLogger(__name__)


class Engine:
    """One process of a run.

    Fabric launches the processes, places tensors and chooses the precision. Gradients are averaged here and
    not by a wrapper around the network, because the loss of one network may run through another one, and a
    wrapper would reduce the gradients of both.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        devices: processes on this machine.
        nodes: machines.
        precision: ``32`` or ``bf16`` (autocast; the weights stay in 32 bits).

    Raises:
        UsageError: the device does not exist here; the message names those that do.
    """

    def __init__(
        self,
        device: str = "auto",
        *,
        devices: int = 1,
        nodes: int = 1,
        precision: Literal["32", "bf16"] = "32",
    ) -> None:
        from lightning_fabric import Fabric  # seconds to import, and nothing that prediction needs

        self.half = precision == "bf16"
        # Fabric announces at level INFO what it was told to do; medgen's own log says what matters.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        accelerator, index = parse_device(device)
        if index is not None and devices > 1:
            raise UsageError(f"'{device}' is one device, and {devices} were asked for", fix="write --device cuda")
        self.fabric = Fabric(
            accelerator=accelerator,
            devices=[index] if index is not None else devices,
            num_nodes=nodes,
            strategy="ddp" if devices * nodes > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        if devices * nodes > 1:
            self.fabric.launch()
            atexit.register(_leave_group)

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return int(self.fabric.global_rank)

    @property
    def world(self) -> int:
        """Number of processes."""
        return int(self.fabric.world_size)

    @property
    def device(self) -> torch.device:
        """Device of this process."""
        return self.fabric.device

    def place(self, method: nn.Module) -> None:
        """Move a network to the device in place, channels last, with the weights of process 0."""
        channels_last(method.to(self.device))
        if self.world > 1:
            for tensor in method.state_dict().values():
                torch.distributed.broadcast(tensor, src=0)

    def to_device(self, batch: Batch) -> Batch:
        """Move a batch to the device, channels last."""
        tensors: Any = batch  # a named tuple of any kind
        return type(batch)(*map(self._move, tensors))

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, memory_format=memory_format(tensor), non_blocking=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision where it was asked for."""
        context: AbstractContextManager[Any] = self.fabric.autocast()
        return _exact_small_kernels(context) if self.device.type == "cpu" and self.half else context

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.world == 1:
            return
        parameters = list(parameters)
        used = torch.tensor([parameter.grad is not None for parameter in parameters], device=self.device).float()
        torch.distributed.all_reduce(used)
        for parameter, count in zip(parameters, used.tolist(), strict=True):
            if not count:  # unused by every process: without a gradient Adam does not count a step of it
                continue
            if parameter.grad is None:  # unused by this process alone
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= self.world

    def average_buffers(self, method: nn.Module) -> None:
        """Make running statistics equal in all processes, by their mean."""
        if self.world > 1:
            for buffer in method.buffers():
                if buffer.is_floating_point():
                    torch.distributed.all_reduce(buffer)
                    buffer /= self.world

    def everywhere(self, flag: bool) -> bool:
        """Whether ``flag`` holds in every process."""
        if self.world == 1:
            return flag
        return bool(
            self.fabric.all_reduce(torch.tensor(float(flag), device=self.device), reduce_op="sum") == self.world
        )

    def gather(self, value: Any) -> list[Any]:
        """The plain Python ``value`` of every process, in the order of their numbers."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait for all processes."""
        self.fabric.barrier()

    @contextmanager
    def reproducible(self, seed: int, number: int, *, same_everywhere: bool = False) -> Iterator[None]:
        """Seed torch by (seed, number, process) inside the block and give its state back afterwards.

        What is random inside a step (dropout, noise) is then a function of the step, like its patches, and no
        random state has to be saved to resume a run exactly.
        """
        accelerators = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(accelerators):
            # splitmix-like spread: neighbouring steps must not get neighbouring states
            rank = 0 if same_everywhere else self.rank
            mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**63
            # torch.manual_seed would also seed every other kind of device, which takes 0.1 ms of each step
            (torch.default_generator if self.device.type == "cpu" else torch).manual_seed(mixed)
            yield


def _leave_group() -> None:
    """End the process group while Python still runs.

    Its threads hold tensors. One that lets go of a tensor after the interpreter has begun to end aborts the
    process (signal 6), now and then, after all its work is done. Fabric itself ends a group of NCCL, and no other.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def _exact_small_kernels(autocast: AbstractContextManager[Any]) -> Iterator[None]:
    """Mixed precision on a CPU, but 32 bits for 3D convolutions of a map that is smaller than their kernel.

    oneDNN's bf16 gradient of such a kernel is partly memory that nothing was written to
    (``findings/bf16_small_conv3d.sh``): NaN now and then, or a large number that nothing notices.
    """
    with autocast, _Float32WhereSmall():
        yield


class _Float32WhereSmall(TorchFunctionMode):
    """Runs some convolutions outside of autocast."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in (torch.conv3d, torch.conv_transpose3d) and _is_small(*args[:2]):
            with torch.autocast("cpu", enabled=False):
                wide = [each.float() if isinstance(each, Tensor) else each for each in args]
                return func(*wide, **options)
        return func(*args, **options)


def _is_small(image: Tensor, kernel: Tensor) -> bool:
    return any(side < edge for side, edge in zip(image.shape[2:], kernel.shape[2:], strict=True))


def memory_format(tensor: Tensor) -> torch.memory_format:
    """Channels last for images and kernels of slices and volumes; contiguous for everything else."""
    return {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim(), torch.contiguous_format)


def channels_last(network: Network) -> Network:
    """Bring the tensors of a network into the memory format of their rank, in place.

    ``Module.to(memory_format=...)`` refuses a network that has kernels of another rank, such as a 2D one.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        # Not contiguous(), which leaves a kernel of one channel as it is: both formats fit it, but its strides decide
        # which convolution runs (a step of the context-aware GAN takes a quarter longer).
        tensor.data = tensor.data.to(memory_format=memory_format(tensor))
    return network


def parse_device(device: str) -> tuple[str, int | None]:
    """Split ``cuda:1`` into its kind and number, after checking that it exists.

    Raises:
        UsageError: there is no such device here.
    """
    kind, _, number = device.partition(":")
    present = available_devices()
    if device == "auto":
        return present[-1].partition(":")[0], None
    known = device in present or (kind in {name.partition(":")[0] for name in present} and not number)
    if not known:
        raise UsageError(f"there is no device '{device}' here", fix=f"choose one of: auto, {', '.join(present)}")
    return kind, int(number) if number else None


def best_precision(device: str) -> Literal["32", "bf16"]:
    """``bf16`` where a device computes in it and does not only emulate it, else ``32``."""
    return "bf16" if _has_bf16(parse_device(device)[0]) else "32"


def require_precision(device: str, precision: Literal["32", "bf16"]) -> None:
    """Refuse a precision that a device cannot compute in, and warn where it only emulates it.

    Raises:
        UsageError: there is no such device, or no mixed precision on it.
    """
    kind = parse_device(device)[0]
    if precision == "32":
        return
    if kind == "mps":
        raise UsageError("there is no precision bf16 on 'mps'", fix="set schedule.precision to 32, or to auto")
    if not _has_bf16(kind):
        log.warning("this %s emulates bf16, which is slower than 32 bits: take --precision 32", kind)


def _has_bf16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def available_devices() -> list[str]:
    """Names of the devices of this machine, the CPU first."""
    names = ["cpu"]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
