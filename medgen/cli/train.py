"""``medgen train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule, Overrides


def train(
    recipe: Path,
    /,
    *,
    cases: Path,
    out: Path,
    overrides: Overrides = (),
    resume: bool = False,
    init_from: Path | None = None,
    max_minutes: float | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: Literal["32", "bf16"] | None = None,
    store: Path | None = None,
    allow_module: AllowModule = (),
    plan: Annotated[bool, Parameter(name=["--plan", "--dry-run"])] = False,
) -> None:
    """Train what a recipe describes on the cases of a table.

    The run folder ends with the model: all that 'medgen predict' needs.
    A run that was stopped, by a time limit, Ctrl-C or a power cut, goes on
    from its last checkpoint with --resume.

    For example:

        medgen train recipe.yaml --cases cases.csv --out run
        medgen train recipe.yaml --cases cases.csv --out run --device cuda
        medgen train recipe.yaml --cases cases.csv --out run --set seed=1
        medgen train recipe.yaml --cases cases.csv --out run --resume
        medgen train recipe.yaml --cases cases.csv --out run --init-from other
        medgen train recipe.yaml --cases cases.csv --out run --plan

    Args:
        recipe: the YAML file that describes the run.
        cases: the case table; cases of split 'train' are learnt from, those of 'val' choose the best model.
        out: the run folder to write.
        overrides: replace a key of the recipe, for example 'patches.size=[32,32,32]'; repeatable.
        resume: go on with the run that the folder holds; one without a step begins anew if recipe or cases changed.
        init_from: a run, or its model folder: the networks start from those of its weights that match by name
            and shape. What matched is in the plan.
        max_minutes: stop in time, save, and exit 75; --resume goes on.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        devices: processes on this machine, one for each GPU or share of the CPU.
        nodes: machines that train together.
        precision: '32' or 'bf16'; the recipe's own by default.
        store: folder of prepared volumes, to share it between runs; 'store' in the run by default.
        allow_module: a module outside medgen that the recipe may name as its method; repeatable.
        plan: check all that can be checked, show what will be trained and how long it will take on
            this machine (a few steps are measured), and end; nothing is written.
    """
    from dataclasses import asdict

    from medgen.cli.output import answer, note, say, show_table
    from medgen.cli.plan import plan_lines, plan_rows
    from medgen.cli.progress import progress_display
    from medgen.run.experiment import train as train_recipe

    options: dict[str, Any] = {
        "overrides": overrides,
        "resume": resume,
        "init_from": init_from,
        "device": device,
        "devices": devices,
        "nodes": nodes,
        "precision": precision,
        "store": store,
        "allow_modules": allow_module,
    }
    if plan:
        from medgen.run.start import plan as plan_training

        planned = plan_training(recipe, cases, out, **options)
        answer(asdict(planned))
        show_table(("what", "planned"), plan_rows(planned))
        return
    with progress_display() as progress:
        run = train_recipe(
            recipe,
            cases,
            out,
            **options,
            max_minutes=max_minutes,
            progress=progress,
            on_plan=lambda planned: note("\n".join(plan_lines(planned))),
        )
    if os.environ.get("LOCAL_RANK", "0") == "0":  # with --devices each process runs this command
        say(str(run))
