"""Functions that are named as text, for the sake of those who must not import them."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

from shared.errors import WorkNotFound, in_words


@lru_cache
def resolve(dotted: str) -> Any:
    """Return the function that ``package.module:function`` names. Raises `WorkNotFound`."""
    module, colon, name = dotted.partition(":")
    if not (module and colon and name):
        raise WorkNotFound(f"its work {dotted!r} is not written as 'package.module:function'.")
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # somebody else's module may raise anything
        raise WorkNotFound(f"its work {dotted!r} is not to be had: {in_words(error)}.") from error
