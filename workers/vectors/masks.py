"""Which rows meet the conditions of searches, the last ones kept: filters come again, and snapshots never change."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from workers.vectors.filters import Attributes, Condition, Excluding
from workers.vectors.nearest import Mask

KEPT_MAX = 64
_KEPT_BYTES = 64_000_000


class Masks:
    """The masks of one snapshot, for any number of threads."""

    def __init__(self, attributes: Attributes) -> None:
        """Look conditions up in these columns."""
        self._attributes = attributes
        self._most = max(1, min(KEPT_MAX, _KEPT_BYTES // max(attributes.rows, 1)))
        self._kept: OrderedDict[Condition, Mask] = OrderedDict()
        self._lock = Lock()

    def met_by_all(self, conditions: Sequence[Condition]) -> Mask | None:
        """Return which rows meet every condition, which nobody may write to; None where there are no conditions.

        Raises:
            InvalidQuery: if a condition can't be.
        """
        if not conditions:
            return None
        mask, *others = map(self._met, conditions)
        for other in others:
            mask = mask & other
        return mask

    def _met(self, condition: Condition) -> Mask:
        if isinstance(condition, Excluding) or not _is_hashable(condition):
            return condition.met(self._attributes)  # of one search alone
        with self._lock:
            if condition in self._kept:
                self._kept.move_to_end(condition)
                return self._kept[condition]
        mask = condition.met(self._attributes)
        mask.flags.writeable = False
        with self._lock:
            self._kept[condition] = mask
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return mask


def _is_hashable(condition: Condition) -> bool:
    try:
        hash(condition)
    except TypeError:  # made with lists
        return False
    return True
