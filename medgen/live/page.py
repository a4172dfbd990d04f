"""The page of a run in training: the report, made again whenever the run has written something."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medgen.cases import Case, read_cases, write_cases
from medgen.errors import MedgenError, UsageError
from medgen.inference.cohort import predict
from medgen.inference.generation import sample
from medgen.live.state import Watched, written
from medgen.methods.base import Predicts, Samples, Translates
from medgen.methods.catalogue import resolve
from medgen.recipe.settings import load_recipe
from medgen.report import write_report
from medgen.types import Checkpoint

log = logging.getLogger(__name__)

PAGE = "report.html"
_COUNT = 9


class LivePage:
    """Keeps ``report.html`` in a folder of its own up to date.

    Pictures are of one validation case, or samples of a model that draws some, by the newest checkpoint. What goes
    wrong with a picture is told on the page, and does not end it.

    Args:
        run: the run folder.
        folder: for the page and what it is made from.
        cases: the case table of the run; without it there are no pictures of a case.
        case: the case to show; by default the first one for validation.
        device: for the pictures.
        every: seconds after which the page asks for a newer one.

    Raises:
        InputError: there is no run, or no such table.
        UsageError: the table has no such case.
    """

    def __init__(
        self,
        run: Path,
        folder: Path,
        *,
        cases: Path | None = None,
        case: str | None = None,
        device: str = "cpu",
        every: float = 15.0,
    ) -> None:
        self.watched, self.folder, self.device, self.every = Watched(run), folder, device, every
        self.case = _chosen(cases, case) if cases else None
        if self.case:
            write_cases([self.case], folder / "cases.csv")
        self._version: tuple[int, ...] | None = None
        self._drawn: tuple[int | None, ...] | None = None
        self._trouble = ""

    def renew(self) -> bool:
        """Make the page again if the run has written something; whether it was."""
        version = self.watched.version()
        if version == self._version and (self.folder / PAGE).exists():
            return False
        ended = self.watched.ended
        self._draw(ended)
        status = " ".join(part for part in (self.watched.sentence(), self._trouble) if part)
        every = None if ended else self.every
        write_report(self.folder, self.folder / PAGE, run=self.watched.run, status=status, every=every)
        self._version = version  # only now: a page that could not be made is made at the next look
        return True

    def _draw(self, ended: bool) -> None:
        """Predict or sample with the newest weights, if there are newer ones than last time."""
        newest = self.watched.checkpoints()[-1:]
        stamp = (ended, *(written(path) for path in newest))
        if stamp == self._drawn or not (ended or newest):
            return
        self._drawn = stamp
        checkpoint: Checkpoint | None = None if ended else "last"
        try:
            with _quiet():
                for draw in self._ways():
                    draw(checkpoint)
            self._trouble = ""
        except (MedgenError, OSError) as error:
            self._trouble = f"No new picture: {reason(error)}."
            log.warning("no picture: %s", reason(error))

    def _ways(self) -> list[Callable[[Checkpoint | None], None]]:
        recipe = load_recipe(self.watched.run / "recipe.yaml")
        method = resolve(recipe.method)
        if issubclass(method, Predicts | Translates):
            return [self._predict] if self.case else []
        return [self._sample] if issubclass(method, Samples) else []

    def _predict(self, checkpoint: Checkpoint | None) -> None:
        assert self.case is not None
        predict(
            self.watched.run,
            [str(self.folder / "cases.csv")],
            self.folder / "predictions",
            overwrite=True,
            checkpoint=checkpoint,
            device=self.device,
        )

    def _sample(self, checkpoint: Checkpoint | None) -> None:
        new, old = self.folder / "samples.new", self.folder / "samples"
        shutil.rmtree(new, ignore_errors=True)
        sample(self.watched.run, new, count=_COUNT, checkpoint=checkpoint, device=self.device)
        shutil.rmtree(old, ignore_errors=True)
        new.rename(old)


def reason(error: MedgenError | OSError) -> str:
    """What went wrong, without a path."""
    return error.what if isinstance(error, MedgenError) else error.strerror or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing but warnings, since pictures are made again and again."""
    logger = logging.getLogger("medgen.inference")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _chosen(table: Path, name: str | None) -> Case:
    cases = read_cases(table).cases
    if name is None:
        return next((case for split in ("val", "test", "train") for case in cases if case.split == split), cases[0])
    found = next((case for case in cases if case.name == name), None)
    if found is None:
        raise UsageError(f"the table has no case '{name}'", where=table, fix="name one of its cases")
    return found
