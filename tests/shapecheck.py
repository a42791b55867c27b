"""The type checker of the tests: every array that a function of graphdb or model takes or gives has its shape."""

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from beartype import beartype
from jaxtyping import AbstractArray

Function = TypeVar("Function", bound=Callable[..., Any])


def modules_with_shapes() -> list[str]:
    """Modules of graphdb and model that state shapes; to look at the others' calls would take a fifth more time."""
    repository = Path(__file__).resolve().parents[1]
    files = [file for package in ("graphdb", "model") for file in sorted((repository / package).rglob("*.py"))]
    stating = [file for file in files if "from graphdb.shapes import" in file.read_text(encoding="utf-8")]
    return [".".join(file.relative_to(repository).with_suffix("").parts) for file in stating]


def check(function: Function) -> Function:
    """Have beartype check the annotations with a shape; the others are mypy's business, and may not be there to run."""
    function.__annotations__ = {
        name: hint if has_shape(hint) else Any for name, hint in function.__annotations__.items()
    }
    return beartype(function)


def has_shape(hint: object) -> bool:
    """Whether a shape stands anywhere in an annotation."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(has_shape(part) for part in typing.get_args(hint))
