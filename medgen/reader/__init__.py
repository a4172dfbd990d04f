"""Reader studies: can people tell synthetic images from real ones?

:func:`make_reader_study` turns real and synthetic images into a folder of cases, :func:`serve_reader_study` shows them
to readers in a browser on this machine, and :func:`score_reader_study` compares the answers with the truth.
"""

from __future__ import annotations

from medgen.reader.making import make_reader_study
from medgen.reader.scoring import score_reader_study
from medgen.reader.serving import serve_reader_study
from medgen.reader.study import Task, read_study

__all__ = ["Task", "make_reader_study", "read_study", "score_reader_study", "serve_reader_study"]
