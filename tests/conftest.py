"""Shared fixtures."""

import os
import sys
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores; their threads would spin

from pathlib import Path

import pytest
from faults.network import blocked

from medgen.run import first_context

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.fixture(scope="module", autouse=True)
def scripts_of_one_pipeline(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test file that names a folder of ``pipelines`` as FOLDER imports its scripts, and leaves none to other files.

    Every pipeline has its own ``run``; one that stayed loaded would be the ``run`` of all.
    """
    folder = getattr(request.module, "FOLDER", None)
    if folder is None or PIPELINES not in Path(folder).parents:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(PIPELINES)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def few_trees() -> Iterator[None]:
    """The first context of a cascade from five boosted trees, for tests whose time two hundred would be."""
    few = {name: trees.model_copy(update={"trees": 5}) for name, trees in first_context.TREES.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_context, "TREES", few)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real volumes; tests that need it are skipped where it is absent."""
    folder = os.environ.get("MEDGEN_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDGEN_REAL_DATA names no folder of real volumes")
    return Path(folder).resolve()


@pytest.fixture(scope="session", autouse=True)
def network_attempts() -> Iterator[list[str]]:
    """No test reaches beyond this machine, and nothing that is tested may: not even to look up a name."""
    with blocked() as tried:
        yield tried


@pytest.fixture(autouse=True)
def no_network(network_attempts: list[str]) -> Iterator[list[str]]:
    """A test whose code tried to reach the network fails, even if a library swallowed the refusal."""
    yield network_attempts
    tried, network_attempts[:] = list(network_attempts), []
    assert tried == [], "it tried to reach the network"
