"""The words of a text, as the lexical index counts them: the same on the way in and in a query."""

import re
import unicodedata

WORD_MAX = 64  # characters of a word that count

# Chinese and Japanese put no spaces between words, so their runs are cut into overlapping pairs.
_UNSPACED = r"\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Letters and digits; in the scripts of India and South-East Asia also the vowel signs, which Unicode calls marks.
_RUN = re.compile(r"(?:[^\W_]|[\u0900-\u0dff\u0e00-\u0eff\u1000-\u109f])+")
_SPLIT = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
# Voiced Japanese syllables are other letters, not accented ones.
_KEPT_MARKS = "\u3099\u309a"
_APOSTROPHES = str.maketrans("", "", "'’ʼ`´\u200b\u200c\u200d\xad")  # noqa: RUF001


def words(text: str) -> list[str]:
    """Return the words of a text in order: small letters, no accents, width and compatibility forms made equal."""
    plain = fold(text).translate(_APOSTROPHES)
    if plain.isascii():
        return [word[:WORD_MAX] for word in _RUN.findall(plain)]
    return [word for run in _RUN.findall(_bare(plain)) for part in _SPLIT.findall(run) for word in _cut(part)]


def fold(text: str) -> str:
    """Return a text by which labels are compared: case, compatibility forms and spaces make no difference."""
    folded = text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split())


def _bare(text: str) -> str:
    """Take the accents off."""
    parts = unicodedata.normalize("NFKD", text)
    kept = "".join(one for one in parts if one in _KEPT_MARKS or not unicodedata.combining(one))
    return unicodedata.normalize("NFC", kept)


def _cut(part: str) -> list[str]:
    if not _IS_UNSPACED.match(part):
        return [part[:WORD_MAX]]
    return [part[place : place + 2] for place in range(max(1, len(part) - 1))]
