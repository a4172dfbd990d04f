"""What a recipe says about its images: which roles there are and how they are prepared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, PositiveInt, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue

from medgen.cases import columns_of, is_optional, is_role
from medgen.config import Config
from medgen.errors import UsageError
from medgen.names import clashing, file_name

Range = tuple[float, float]
Millimetres = Annotated[float, Field(ge=0.01, le=1000)]
Spacing = tuple[Millimetres, Millimetres, Millimetres]


class IntensityConfig(Config):
    """How the values of one role are mapped: ``zscore``, ``{window: [lo, hi]}`` or ``{percentiles: [lo, hi]}``.

    >>> IntensityConfig.model_validate("zscore").model_dump()
    'zscore'
    >>> IntensityConfig.model_validate({"window": [-1024, 2000]}).window
    (-1024.0, 2000.0)
    """

    window: Range | None = None
    """Values in the image's own unit (HU for CT) that become -1 and 1; what lies beyond is clipped."""
    percentiles: Range | None = None
    """Percentiles (0 to 100) of the body that become -1 and 1; what lies beyond is clipped."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value != "zscore":
                raise ValueError("expected zscore, {window: [lo, hi]} or {percentiles: [lo, hi]}")
            return {}
        return value

    @model_validator(mode="after")
    def _one_rising_range(self) -> IntensityConfig:
        if self.window and self.percentiles:
            raise ValueError("give either a window or percentiles")
        low, high = self.window or self.percentiles or (0.0, 1.0)
        if not low < high:
            raise ValueError(f"the first number must be smaller than the second, not {low:g} and {high:g}")
        if self.percentiles and not (low >= 0 and high <= 100):
            raise ValueError("percentiles lie between 0 and 100")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"const": "zscore"}, handler.resolve_ref_schema(handler(core))]}

    @model_serializer
    def _short(self) -> str | dict[str, list[float]]:
        if self.window:
            return {"window": list(self.window)}
        return {"percentiles": list(self.percentiles)} if self.percentiles else "zscore"

    @property
    def hounsfield(self) -> bool:
        """Whether the values are HU: a window that begins well below water can be nothing else."""
        return self.window is not None and self.window[0] <= -500


ZSCORE = IntensityConfig()
CT_WINDOW = IntensityConfig(window=(-1024, 2000))


class PreparationConfig(Config):
    """What is done to a patient's images before a network sees them; the same in training and prediction."""

    spacing: Spacing | None = (2.0, 2.0, 2.0)
    """Voxel size in mm along right-left, posterior-anterior, inferior-superior; null keeps the image's own."""
    bias_correction: Literal["none", "n4"] = "none"
    """``n4`` divides the coil profile out of every role that is not mapped by a window."""
    intensity: dict[str, IntensityConfig] = {}
    """By role; where a role is missing, ``zscore`` for inputs and the window [-1024, 2000] HU for the target."""
    residual: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    """Inputs of which only what other inputs do not explain is kept, e.g. ``{"ge|swi": [t2, flair]}``: for a contrast
    that differs between scanners. See :func:`medgen.preparation.residual.residual`."""
    body_margin: Annotated[float, Field(ge=0, le=1000)] = 6.0
    """mm around the body found in the first input that are predicted too. Skin, table side and registration differ
    between two scans, and what is left out becomes air. Intensities are normalised in the body alone."""
    nan: Literal["error", "zero", "min", "median"] = "error"
    """What takes the place of voxels that are NaN or infinite; ``min`` and ``median`` of the others."""
    resample_target: bool = False
    """Whether a target on a grid of its own is brought onto that of the first input, by linear interpolation, and the
    case's notes say so; else it is refused. Registered it must be in any case: only the voxels differ, not the place.
    Beyond its field of view stands its lowest value, so a target that covers less needs a mask inside both.
    Further inputs are always brought there; a label map or mask on another grid is always refused."""
    geometry: Literal["sform", "qform"] | None = None
    """Which one to believe when the two disagree by more than rounding; null refuses such a file."""


class Roles(Config):
    """Which columns of the case table a method uses (the recipe's ``data``)."""

    inputs: Annotated[tuple[str, ...], Field(min_length=1, max_length=256)]
    """Channels in this order; ``ge|swi`` takes whichever a patient has, and ``swi?`` may be absent: its channel is then
    0 throughout, which is the mean of a z-scored one."""
    target: str | None = None
    """The image to synthesise."""
    labels: str | None = None
    """The label map to learn, or beside a target the one that balanced sampling looks at: whole numbers, 0 for
    background."""
    classes: Annotated[dict[str, Annotated[tuple[PositiveInt, ...], Field(min_length=1)]], Field(max_length=255)] = {}
    """Names of the classes and the values of the label map that make up each, e.g. ``{tumour: [1, 2, 3, 4]}``; the
    first is class 1 of a prediction, and a value in none of them is background. Empty: the values as they are."""
    domains: tuple[Literal["source", "target"], ...] | None = None
    """Domains of the case table to learn labels from; needed where it has both and the method does not adapt."""
    mask: str | None = None
    """Where to train and to measure; null finds the body in the first input."""

    @model_validator(mode="after")
    def _each_once(self) -> Roles:
        if len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"an input is named twice: {', '.join(self.inputs)}")
        if is_optional(self.inputs[0]):
            raise ValueError("the first input is the reference of all others and cannot be optional")
        return self

    @model_validator(mode="after")
    def _names_of_columns(self) -> Roles:
        named = [role for role in (*self.inputs, self.target, self.labels, self.mask) if role is not None]
        for column in (column for role in named for column in columns_of(role)):
            if not is_role(column):
                raise ValueError(f"{column[:100]!r} cannot be a role: use letters, digits, '-' and '_'")
        return self

    @model_validator(mode="after")
    def _names_of_files(self) -> Roles:
        require_class_names(tuple(self.classes))
        return self

    @model_validator(mode="after")
    def _classes_of_labels(self) -> Roles:
        values = [value for group in self.classes.values() for value in group]
        if len(set(values)) < len(values):
            raise ValueError("a label value belongs to two classes")
        if self.classes and self.labels is None:
            raise ValueError("there are classes, but no labels")
        return self

    @property
    def all(self) -> tuple[str, ...]:
        """Every role in use, each once."""
        return tuple(dict.fromkeys(role for role in (*self.inputs, self.target, self.labels, self.mask) if role))


def require_class_names(names: Sequence[str]) -> None:
    """Refuse classes that cannot each name the file of their probability.

    Raises:
        ValueError: the first that cannot, or two that would name the same.
    """
    try:
        files = [file_name(name).replace(" ", "-") for name in names]
    except UsageError as error:
        raise ValueError(f"{error.what}, and a class names the file of its probability") from None
    if twice := clashing(files):
        raise ValueError(f"two classes would name the file of one probability: {', '.join(map(ascii, twice[:5]))}")
