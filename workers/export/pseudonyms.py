"""Documents without what says whose they are: names by keyed pseudonyms, moments by their day.

The pseudonyms are HMAC-SHA-256 under a key that is made for one export and thrown away with it: the same user is the
same pseudonym everywhere in that export, and nobody can lead it back, nor tie it to another export's.

- What stands under a field that names somebody or a place on a disk (`NAMING`; case and ``_`` do not count), at any
  depth, becomes ``anon-`` and 16 hexadecimal digits.
- E-mail addresses are replaced in any text, and in names of fields. Of a reference (DBRef) the id is replaced.
- ObjectIds, which hold the second in which they were made, become other ObjectIds; a text that is a document's `_id`
  is replaced, except where the collection is of public things.
- Dates, and texts that are ISO 8601 moments, are cut to the day (UTC). Moments that are kept as plain numbers are not
  known as such, and stay.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Any

from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from shared.model import Json

NAMING = frozenset(
    (
        *("userid", "user", "username", "owner", "ownerid", "login", "handle", "nickname", "profile", "accountid"),
        *("email", "emails", "mail", "name", "displayname", "firstname", "lastname", "fullname", "realname"),
        *("path", "filepath", "file", "filename", "folder", "directory", "uri", "url"),
        *("phone", "address", "ip", "ipaddress", "password", "passwordhash", "token", "accesstoken", "refreshtoken"),
        *("secret", "apikey", "birthdate", "birthday"),
    )
)
"""The names of fields, in lower case and without ``_``, whose values say who somebody is or where their files are."""

DAY_MS = 86_400_000
DAY_SECONDS = 86_400
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ][0-9]{2}:[0-9]{2}.*")


class Pseudonyms:
    """Makes documents anonymous under one key."""

    def __init__(self, key: bytes, *, is_public: bool = False) -> None:
        """Keep the key; the ids of a collection of public things stay as they are."""
        self._key = key
        self._is_public = is_public

    def anonymous(self, document: Json) -> Json:
        """Return a document without what says whose it is."""
        found: Json = self._walked(document)
        if isinstance(document.get("_id"), str) and not self._is_public:
            found["_id"] = self._pseudonym(document["_id"])
        return found

    def _walked(self, value: Any, *, names: bool = False) -> Any:
        """Return a value; one below a field that `names` somebody is replaced, whatever it is."""
        if isinstance(value, dict):
            return {self._key_of(key): self._walked(one, names=names or _is_naming(key)) for key, one in value.items()}
        if isinstance(value, list):
            return [self._walked(one, names=names) for one in value]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, DBRef):
            return DBRef(value.collection, self._walked(value.id, names=True), value.database)
        if isinstance(value, ObjectId):
            return ObjectId(self._digest(value.binary)[:12])
        if names:
            return self._pseudonym(value)
        change = _COARSER.get(type(value))
        return self._text(value) if isinstance(value, str) else change(value) if change else value

    def _key_of(self, name: str) -> str:
        """Return the name of a field; where people are listed by their addresses, these are names of fields."""
        return self._emails(name) if "@" in name else name

    def _emails(self, text: str) -> str:
        return _EMAIL.sub(lambda found: self._pseudonym(found[0]), text)

    def _text(self, text: str) -> str:
        if moment := _MOMENT.fullmatch(text):
            return moment[1]
        return self._emails(text) if "@" in text else text

    def _pseudonym(self, value: Any) -> str:
        # Text by itself and not by its type's name, so that a user is the same under every field.
        text = value if isinstance(value, str) else repr(value)
        return f"anon-{self._digest(text.encode('utf-8', 'surrogatepass')).hex()[:16]}"

    def _digest(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, sha256)


def _is_naming(key: str) -> bool:
    return key.replace("_", "").lower() in NAMING


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


_COARSER: dict[type, Callable[[Any], Any]] = {
    datetime: _day,
    DatetimeMS: lambda moment: DatetimeMS(int(moment) // DAY_MS * DAY_MS),
    Timestamp: lambda stamp: Timestamp(stamp.time // DAY_SECONDS * DAY_SECONDS, 0),
}
