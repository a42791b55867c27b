"""Ids that come again in another file: told without keeping the ids."""

from hashlib import blake2b

import numpy as np

_FEWEST = 4096
"""Ids that are worth sorting in."""


class FirstFiles:
    """For each id the position of the file that it came from first, in about 20 bytes.

    Ids are told apart by 8 bytes of a hash; among a million, chance makes two the same in one of 40 million cases.
    """

    def __init__(self) -> None:
        """No id yet."""
        self._keys = np.empty(0, np.uint64)  # ascending
        self._files = np.empty(0, np.int32)
        self._recent: dict[int, int] = {}

    def first(self, material_id: str, file: int) -> int:
        """The first file with this id, which is `file` for an id that is new."""
        key = int.from_bytes(blake2b(material_id.encode(), digest_size=8).digest(), "little")
        if key in self._recent:
            return self._recent[key]
        place = int(np.searchsorted(self._keys, np.uint64(key)))
        if place < len(self._keys) and self._keys[place] == key:
            return int(self._files[place])
        self._recent[key] = file
        if len(self._recent) > max(_FEWEST, len(self._keys) // 8):
            self._sort_in()
        return file

    def _sort_in(self) -> None:
        keys = np.concatenate([self._keys, np.fromiter(self._recent.keys(), np.uint64, len(self._recent))])
        files = np.concatenate([self._files, np.fromiter(self._recent.values(), np.int32, len(self._recent))])
        order = np.argsort(keys)
        self._keys, self._files = keys[order], files[order]
        self._recent.clear()
