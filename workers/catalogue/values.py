"""Taking the values out of a raw entry: right types or a fault, odd values put right or left out with a warning."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any

from workers.catalogue.errors import EntryFault
from workers.catalogue.identity import canonical

TEXT_MAX = 1000  # characters of a title, a name or a tag
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
SURROGATE = re.compile(r"[\ud800-\udfff]")
WHOLE_MAX = 10_000_000


class Values:
    """The fields of one raw entry; `warnings` grows with what had to be put right."""

    def __init__(self, raw: Mapping[str, Any], *, called: str | None = None) -> None:
        """Read from these fields; warnings speak of what they are `called` together, if they are."""
        self._raw = raw
        self._called = called
        self.warnings: list[str] = []

    def warn(self, what: str, name: str) -> None:
        """Note what had to be put right in a field, once."""
        code = f"{what}_{self._called or name}"
        if code not in self.warnings:
            self.warnings.append(code)

    def text(self, name: str) -> str | None:
        """Return a text in Unicode's NFC, white space as single spaces; None where there is none."""
        value = self._raw.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise wrong_type(name, "a text", value)
        return self._tidy(value, name) or None

    def name(self, name: str) -> str | None:
        """Return what names a thing: a text, or a number in its digits, however many; None where there is none."""
        value = self._raw.get(name)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return str(value) if is_number else self.text(name)

    def _tidy(self, value: str, name: str) -> str:
        if SURROGATE.search(value):
            raise EntryFault("wrong_encoding", f"The field {name!r} holds bytes that are no UTF-8.")
        if value.isascii() and value.isprintable() and "  " not in value:
            tidy = value.strip()  # the common case by far
        else:
            tidy = " ".join(CONTROL.sub(" ", unicodedata.normalize("NFC", value)).split())
        if len(tidy) > TEXT_MAX:
            self.warn("long", name)
            tidy = tidy[:TEXT_MAX].rstrip()
        return tidy

    def texts(self, name: str, *, separators: str = "") -> tuple[str, ...]:
        """Return a list of texts, in order, without those that differ only in case; a text may hold several."""
        seen: dict[str, str] = {}
        for text in self._list(name, separators):
            tidy = self._tidy(text, name)
            if tidy:
                seen.setdefault(tidy.casefold(), tidy)
        return tuple(seen.values())

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return a list of addresses of pages, each written in the one way, sorted."""
        found = set()
        for text in self._list(name, ""):
            address = canonical(self._tidy(text, name))
            if address is None:
                self.warn("bad", name)
            else:
                found.add(address)
        return tuple(sorted(found))

    def _list(self, name: str, separators: str) -> list[str]:
        value = self._raw.get(name)
        if value is None:
            return []
        if separators and isinstance(value, str):
            return re.split(f"[{separators}]", value)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise wrong_type(name, "a list of texts", value)
        return value

    def address(self, name: str) -> str | None:
        """Return the address of a picture as it is; None where there is none."""
        text = self.text(name)
        if text is not None and not text.startswith(("https://", "http://")):
            self.warn("bad", name)
            return None
        return text

    def choice(self, name: str, allowed: Collection[str], *, default: str | None, silent: Collection[str] = ()) -> Any:
        """Return one of the allowed words in upper case, or the default: with a warning for a word nobody knows."""
        text = self.text(name)
        word = text.upper() if text is not None else None
        if word in allowed:
            return word
        if word is not None and word not in silent:
            self.warn("unknown", name)
        return default

    def whole(self, name: str, *, least: int = 0, most: int = WHOLE_MAX) -> int | None:
        """Return a whole number in these bounds; None, with a warning, for one outside."""
        value = self.number(name)
        if value is None:
            return None
        if not (least <= value <= most) or value != int(value):
            self.warn("bad", name)
            return None
        return int(value)

    def number(self, name: str) -> float | int | None:
        """Return a finite number; one that a table holds as text as well."""
        value = self._raw.get(name)
        if isinstance(value, str):
            value = _number_in(value, name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(name, "a number", value)
        if not math.isfinite(value):
            self.warn("bad", name)
            return None
        return value

    def within(self, name: str, *, called: str | None = None) -> Values:
        """Return the fields of the object in a field; its warnings count here."""
        value = self._raw.get(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise wrong_type(name, "an object", value)
        inner = Values(value, called=called)
        inner.warnings = self.warnings
        return inner

    def has(self, name: str, check: Callable[[Any], bool]) -> bool:
        """Whether the field's raw value fits."""
        return check(self._raw.get(name))


def _number_in(text: str, name: str) -> float | int | None:
    stripped = text.strip()
    if not stripped:
        return None
    try:
        return int(stripped) if stripped.lstrip("+-").isdecimal() else float(stripped)
    except ValueError:
        raise wrong_type(name, "a number", text) from None


def wrong_type(name: str, wanted: str, value: Any) -> EntryFault:
    """Return the fault of a field that holds something else than it should."""
    kinds = {
        str: "a text",
        bool: "a truth value",
        list: "a list",
        dict: "an object",
        int: "a number",
        float: "a number",
    }
    return EntryFault("wrong_type", f"The field {name!r} should be {wanted}, not {kinds.get(type(value), 'that')}.")
