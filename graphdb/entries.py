"""What ``STORE.partial`` holds: for each id a graph or the reason why there is none, and notes on graphs.

Each value begins with the digest of the text that it was made from.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphdb.errors import Reason, SkippedCrystal
from graphdb.store import iterate

ENTRY, NOTES = b"c", b"n"
"""What keys begin with; the id follows."""
GRAPH, SKIPPED = b"g", b"s"
"""Kinds of an entry."""
DIGEST_BYTES = 16


def graph_item(material_id: str, digest: bytes, record: bytes) -> tuple[bytes, bytes]:
    """The entry of a graph."""
    return ENTRY + material_id.encode(), digest + GRAPH + record


def skip_item(skipped: SkippedCrystal, digest: bytes) -> tuple[bytes, bytes]:
    """The entry of a crystal without graph."""
    note = json.dumps([skipped.reason, skipped.message, skipped.where])
    return ENTRY + skipped.material_id.encode(), digest + SKIPPED + note.encode()


def notes_item(material_id: str, digest: bytes, notes: Sequence[SkippedCrystal]) -> tuple[bytes, bytes]:
    """The entry of what there is to be said about a graph."""
    text = json.dumps([[note.reason, note.message, note.where] for note in notes])
    return NOTES + material_id.encode(), digest + text.encode()


def read_skip(material_id: str, payload: bytes) -> SkippedCrystal:
    """What `skip_item` was made from, without the digest."""
    reason, message, where = json.loads(payload)
    return SkippedCrystal(material_id, Reason(reason), message, where)


def entries(env: Any, wanted: Mapping[str, bytes]) -> Iterator[tuple[str, bytes, bytes, bytes]]:
    """Id, digest, kind and payload of each entry that is wanted with this digest, by id."""
    for key, value in iterate(env, ENTRY):
        material_id = key[1:].decode()
        digest = bytes(value[:DIGEST_BYTES])
        if wanted.get(material_id) == digest:
            payload = bytes(value[DIGEST_BYTES:])
            yield material_id, digest, payload[:1], payload[1:]


def all_notes(env: Any, wanted: Mapping[str, bytes]) -> list[SkippedCrystal]:
    """The notes on graphs that are wanted with these digests, by id."""
    found = []
    for key, value in iterate(env, NOTES):
        material_id = key[1:].decode()
        if wanted.get(material_id) == bytes(value[:DIGEST_BYTES]):
            for reason, message, where in json.loads(bytes(value[DIGEST_BYTES:])):
                found.append(SkippedCrystal(material_id, Reason(reason), message, where))
    return found
