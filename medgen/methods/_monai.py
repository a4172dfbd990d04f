"""A network of MONAI in the settings of a method, in place of the name of one of medgen's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, JsonValue, field_validator

from medgen.config import Config, build
from medgen.networks.monai_zoo import NETWORKS, require_network

_MOST = 10_000
"""The highest whole number among the arguments: it counts layers, channels, heads, ..."""


class MonaiNetworkConfig(Config):
    """``{monai: SegResNet, arguments: {init_filters: 16}}``: a network of ``monai.networks.nets``.

    Channels, dimensions and the size of a patch come from the recipe. See :mod:`medgen.networks.monai_network`.
    """

    monai: Annotated[str, Field(json_schema_extra={"enum": list(NETWORKS)})]
    """Its class. No other class than these, which make one image of the size of their input, is ever built."""
    arguments: dict[str, JsonValue] = {}
    """Of the class, by MONAI's names, as plain values: ``{channels: [16, 32, 64], strides: [2, 2]}``."""

    @field_validator("monai")
    @classmethod
    def _known(cls, name: str) -> str:
        require_network(name)
        return name

    @field_validator("arguments")
    @classmethod
    def _few(cls, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if (highest := max(_integers(arguments), default=0)) > _MOST:
            raise ValueError(f"a whole number is {highest:,}, and the limit is {_MOST:,}")
        return arguments


def _integers(value: JsonValue) -> list[int]:
    """The whole numbers in plain values."""
    if isinstance(value, int):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [number for item in items for number in _integers(item)]


def or_monai(*names: str) -> BeforeValidator:
    """For a key that is one of ``names`` or :class:`MonaiNetworkConfig`, so that each fault is told as its own."""

    def one_kind(value: Any) -> Any:
        if isinstance(value, Mapping):
            return build(MonaiNetworkConfig, value)
        if value not in names and not isinstance(value, MonaiNetworkConfig):
            raise ValueError(f"expected {', '.join(names)} or {{monai: NAME, arguments: {{...}}}}")
        return value

    return BeforeValidator(one_kind)
