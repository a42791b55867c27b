"""Settings that go to JSON and come back: frozen dataclasses, read strictly. Standard library only."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, ClassVar, Protocol, TypeVar

Value = bool | int | float | str
"""What a single setting may be, hyperparameters among them."""


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Record = TypeVar("Record", bound=_Dataclass)


def read_record(kind: type[Record], values: Mapping[str, Any], name: str, *, complete: bool = False) -> Record:
    """The frozen dataclass that `dataclasses.asdict` made JSON-able values of; lists become tuples.

    Args:
        kind: the dataclass.
        values: by the names of its fields.
        name: of the record, for the message.
        complete: whether fields with a default must be there, too.

    Raises:
        ValueError: for unknown and missing keys, or a value that the class refuses.
    """
    known = {field.name: field for field in fields(kind)}
    unknown = [f"{key} (unknown)" for key in values if key not in known]
    missing = [
        f"{key} (missing)"
        for key, field in known.items()
        if key not in values and (complete or (field.default is MISSING and field.default_factory is MISSING))
    ]
    if unknown or missing:
        raise ValueError(f"{name} must have this version's keys, but these differ: {', '.join(unknown + missing)}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def finite_or_none(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinity: None in their places, in depth, and lists for tuples."""
    if isinstance(value, Mapping):
        return {key: finite_or_none(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
