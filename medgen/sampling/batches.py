"""What a method sees in one step: named tensors with fixed shapes, units and ranges, and where they come from.

Shapes are those of volumes; for slices (``patches.dimensions: 2``) the last axis is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from medgen.preparation.task import GENERATION, SEGMENTATION, SYNTHESIS, Task
from medgen.types import Domain

StoredArray = Literal["image", "target", "mask", "body", "label"]

ALWAYS = frozenset({"mask", "body"})
"""Arrays that every prepared case has."""


@dataclass(frozen=True)
class Stream:
    """Patches of one set of cases. Patch n of stream k is a pure function of (seed, k, n).

    Attributes:
        fields: by field of the batch, the array of the prepared case that it is cut from.
        domain: whose cases are taken; None takes every case that has the images.
        places: whether a label map, where the recipe names one, may decide where patches are drawn. The labels of a
            stream that neither learns nor places by them are never opened.
        paired: whether the pairing of its images is learnt beside unpaired ones. It then takes a share of the cases
            that have all of them; which, follows from their names and the seed.
    """

    fields: Mapping[str, StoredArray]
    domain: Domain | None = None
    places: bool = True
    paired: bool = False

    @property
    def labels(self) -> bool:
        """Whether labels are learnt."""
        return "label" in self.fields.values()

    @property
    def sees_labels(self) -> bool:
        """Whether the labels of its cases may be opened."""
        return self.labels or self.places


class Batch(Protocol):
    """A named tuple of tensors that knows its streams."""

    @classmethod
    def streams(cls) -> tuple[Stream, ...]:
        """Where the fields come from."""
        ...

    @classmethod
    def task(cls) -> Task:
        """What a method that learns from such batches makes."""
        ...


class Paired(NamedTuple):
    """Patches of one patient in two modalities, voxel for voxel.

    Attributes:
        source: (B, C, X, Y, Z) normalised input channels, then the context channels if there are any.
        target: (B, K, X, Y, Z) in [-1, 1]; for CT the window of the recipe, mapped linearly.
        mask: (B, 1, X, Y, Z) in {0, 1}; 1 where the patient is, 0 also outside the scanned field.
        body: (B, 1, X, Y, Z) in {0, 1}; 1 where a prediction will be made: what was found in the first input, and a
            margin.
    """

    source: Tensor
    target: Tensor
    mask: Tensor
    body: Tensor

    @classmethod
    def streams(cls) -> tuple[Stream, ...]:
        """One, of cases with inputs and target."""
        return (Stream({"source": "image", "target": "target", "mask": "mask", "body": "body"}),)

    @classmethod
    def task(cls) -> Task:
        """Synthesis."""
        return SYNTHESIS


class Labelled(NamedTuple):
    """Patches with a label map.

    Attributes:
        source: (B, C, X, Y, Z) normalised input channels.
        label: (B, 1, X, Y, Z) integers, the index of the class; 0 is background.
        mask: (B, 1, X, Y, Z) in {0, 1}; 1 where the patient is.
    """

    source: Tensor
    label: Tensor
    mask: Tensor

    @classmethod
    def streams(cls) -> tuple[Stream, ...]:
        """One, of cases with inputs and labels."""
        return (Stream({"source": "image", "label": "label", "mask": "mask"}),)

    @classmethod
    def task(cls) -> Task:
        """Segmentation."""
        return SEGMENTATION


class LabelledSource(Labelled):
    """As :class:`Labelled`, of the source alone: unlabelled cases of a target in the same table are left out."""

    @classmethod
    def streams(cls) -> tuple[Stream, ...]:
        """One, of cases of the source, or of no domain, with inputs and labels."""
        (stream,) = Labelled.streams()
        return (replace(stream, domain="source"),)


class Adaptation(NamedTuple):
    """Patches of a labelled domain and as many of another one, of which nothing is known but the images.

    Attributes:
        source: (B, C, X, Y, Z) normalised input channels of the labelled (source) domain.
        label: (B, 1, X, Y, Z) integers, the index of the class; 0 is background.
        mask: (B, 1, X, Y, Z) in {0, 1}; 1 where the patient is.
        target: (B, C, X, Y, Z) normalised input channels of the unlabelled (target) domain.
        target_mask: (B, 1, X, Y, Z) in {0, 1}.
    """

    source: Tensor
    label: Tensor
    mask: Tensor
    target: Tensor
    target_mask: Tensor

    @classmethod
    def streams(cls) -> tuple[Stream, ...]:
        """A labelled one and an unlabelled one."""
        labelled: dict[str, StoredArray] = {"source": "image", "label": "label", "mask": "mask"}
        unlabelled: dict[str, StoredArray] = {"target": "image", "target_mask": "mask"}
        return Stream(labelled, domain="source"), Stream(unlabelled, domain="target", places=False)

    @classmethod
    def task(cls) -> Task:
        """Segmentation."""
        return SEGMENTATION


class MatchedAdaptation(NamedTuple):
    """As :class:`Adaptation`, and images of the labelled domain that are drawn as those of the other one are.

    Half of the labelled patches may lie on a lesion. Beside target patches from anywhere, a discriminator of domains
    then learns that a lesion is a sign of the source.

    Attributes:
        source: see :class:`Adaptation`.
        label: see :class:`Adaptation`.
        mask: see :class:`Adaptation`.
        target: see :class:`Adaptation`.
        target_mask: see :class:`Adaptation`.
        matched: (B, C, X, Y, Z) normalised input channels of the labelled domain, drawn without labels.
        matched_mask: (B, 1, X, Y, Z) in {0, 1}.
    """

    source: Tensor
    label: Tensor
    mask: Tensor
    target: Tensor
    target_mask: Tensor
    matched: Tensor
    matched_mask: Tensor

    @classmethod
    def streams(cls) -> tuple[Stream, ...]:
        """Those of :class:`Adaptation`, and one of the labelled domain that never opens a label."""
        alike: dict[str, StoredArray] = {"matched": "image", "matched_mask": "mask"}
        return *Adaptation.streams(), Stream(alike, domain="source", places=False)

    @classmethod
    def task(cls) -> Task:
        """Segmentation."""
        return SEGMENTATION


class Unpaired(NamedTuple):
    """Patches of the inputs of some cases, and of the target of others, which need not be the same patients.

    Attributes:
        source: (B, C, X, Y, Z) normalised input channels.
        mask: (B, 1, X, Y, Z) in {0, 1}; 1 where the patient of ``source`` is.
        target: (B, K, X, Y, Z) in [-1, 1], of another place and mostly of another patient.
        target_mask: (B, 1, X, Y, Z) in {0, 1}; 1 where the patient of ``target`` is.
    """

    source: Tensor
    mask: Tensor
    target: Tensor
    target_mask: Tensor

    @classmethod
    def streams(cls) -> tuple[Stream, ...]:
        """One of cases with all inputs, one of cases with a target; a case with both is in both."""
        return (
            Stream({"source": "image", "mask": "mask"}, places=False),
            Stream({"target": "target", "target_mask": "mask"}, places=False),
        )

    @classmethod
    def task(cls) -> Task:
        """Synthesis."""
        return SYNTHESIS


class PartlyPaired(NamedTuple):
    """As :class:`Unpaired`, and patches of the cases that are known to be pairs.

    Attributes:
        source: see :class:`Unpaired`.
        mask: see :class:`Unpaired`.
        target: see :class:`Unpaired`.
        target_mask: see :class:`Unpaired`.
        paired_source: (B, C, X, Y, Z) normalised input channels of a pair.
        paired_target: (B, K, X, Y, Z) in [-1, 1], voxel for voxel of the same patient.
        paired_mask: (B, 1, X, Y, Z) in {0, 1}; 1 where that patient is.
    """

    source: Tensor
    mask: Tensor
    target: Tensor
    target_mask: Tensor
    paired_source: Tensor
    paired_target: Tensor
    paired_mask: Tensor

    @classmethod
    def streams(cls) -> tuple[Stream, ...]:
        """Those of :class:`Unpaired`, and one of a share of the cases with both images."""
        fields: dict[str, StoredArray] = {"paired_source": "image", "paired_target": "target", "paired_mask": "mask"}
        return *Unpaired.streams(), Stream(fields, places=False, paired=True)

    @classmethod
    def task(cls) -> Task:
        """Synthesis."""
        return SYNTHESIS


class Images(NamedTuple):
    """Patches of images alone.

    Attributes:
        image: (B, C, X, Y, Z) normalised input channels.
        mask: (B, 1, X, Y, Z) in {0, 1}; 1 where the patient is.
    """

    image: Tensor
    mask: Tensor

    @classmethod
    def streams(cls) -> tuple[Stream, ...]:
        """One, of cases with inputs; labels are never seen."""
        return (Stream({"image": "image", "mask": "mask"}, places=False),)

    @classmethod
    def task(cls) -> Task:
        """Generation."""
        return GENERATION
