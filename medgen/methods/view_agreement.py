"""Two networks, two views: with the channel that differs between the domains, and without; both must agree.

With the channel a network makes, on a new scanner, the errors of a contrast that it does not know; without it, those
of who cannot see what the channel shows. These are errors in different places, so a class is predicted only as far
as both networks see it. No image of the new scanner is looked at; ``co_training`` learns from those as well.

The rule is medgen's; nothing about it is published. Two networks take twice the time of one.
"""

from __future__ import annotations

from collections.abc import Iterator

from medgen.methods._views import TwoViews, ViewsConfig
from medgen.methods.base import Update
from medgen.sampling.batches import Labelled


class Config(ViewsConfig):
    """Settings of the two views."""


class ViewAgreement(TwoViews):
    """Both networks learn from the same labels."""

    config_class = Config
    config: Config

    def updates(self, batch: Labelled, progress: float) -> Iterator[Update]:
        """One step of each network."""
        for name, network in self.views:
            yield Update(name, self.supervised(network(self.seen_by(name, batch.source)), batch.label, network))


METHOD = ViewAgreement
