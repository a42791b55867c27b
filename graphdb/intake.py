"""What of a source has to be built, and which of several texts with the same id counts: the first that can be used."""

from collections.abc import Iterator
from dataclasses import replace

from graphdb.errors import Reason, SkippedCrystal, SourceError
from graphdb.ingest import Built, text_digest
from graphdb.rawcrystal import RawCrystal
from graphdb.sources import Source
from graphdb.usable import duplicate
from graphdb.writer import StoreWriter

Batch = Iterator[tuple[RawCrystal, bytes]]


class Intake:
    """Hands on what has to be built, takes in what became of it, and remembers what cannot be used.

    Which text counts depends on the source alone: neither on the order in which results arrive, nor on interruptions.
    """

    def __init__(self, source: Source, writer: StoreWriter) -> None:
        """Read nothing yet."""
        #: of the text that counts, by id
        self.digests: dict[str, bytes] = {}
        #: what could not be used, beside what the writer keeps
        self.skipped: list[SkippedCrystal] = []
        self.num_known = 0
        #: why the source broke off
        self.failure: SourceError | None = None
        self._source = source
        self._writer = writer
        self._places: dict[str, str] = {}
        self._usable: dict[str, bool] = {}  # of the texts of `digests`; those being built are not in it
        self._refusals: dict[str, SkippedCrystal] = {}  # of first texts that failed in this run
        self._waiting: dict[str, list[RawCrystal]] = {}  # later texts of an id of which none could be used so far
        self._trying: dict[str, RawCrystal] = {}

    def ids(self) -> set[str]:
        """Of all crystals of the source, usable or not."""
        return {*self.digests, *(skip.material_id for skip in self.skipped if skip.material_id)}

    def batches(self) -> Iterator[Batch]:
        """What has to be built; each batch is read, and all its results are given to `settle`, before the next one.

        A source that breaks off ends the first batch, so that what was read is built and kept.
        """
        yield self._first_texts()
        if self._waiting and self.failure is None:
            for skip in self._writer.skipped({name: self.digests[name] for name in self._waiting}):
                self._refusals.setdefault(skip.material_id, skip)
        while self._waiting and self.failure is None:
            yield self._next_texts()
        self._keep_refusals()

    def settle(self, built: Built) -> None:
        """Take in a result."""
        material_id, outcome = built.material_id, built.outcome
        tried = self._trying.pop(material_id, None)
        if not isinstance(outcome, SkippedCrystal):
            self._writer.add_graph(material_id, built.digest, outcome, built.notes)
            if tried is None:
                self._accept(material_id)
            else:
                self._choose(tried, built.digest)
        elif tried is not None:
            self.skipped.append(outcome)
        else:
            self._usable[material_id] = False
            self._refusals[material_id] = outcome
            if self._may_keep(outcome):
                self._writer.add_skipped(outcome, built.digest)

    def _first_texts(self) -> Batch:
        try:
            for entry in self._source.entries():
                if isinstance(entry, SkippedCrystal):
                    self.skipped.append(entry)
                elif entry.material_id not in self.digests:
                    yield from self._first_text(entry)
                elif self._usable.get(entry.material_id):
                    self.skipped.append(self._duplicate(entry))
                else:
                    self._waiting.setdefault(entry.material_id, []).append(entry)
        except SourceError as error:
            self.failure = error

    def _first_text(self, entry: RawCrystal) -> Batch:
        digest = text_digest(entry)
        self.digests[entry.material_id] = digest
        self._places[entry.material_id] = entry.where
        if self._writer.known(entry.material_id, digest):
            self.num_known += 1
            self._usable[entry.material_id] = self._writer.has_graph(entry.material_id)
        else:
            yield entry, digest

    def _next_texts(self) -> Batch:
        """The second text of each id whose first one failed; the third after that, and so on."""
        for material_id, queue in list(self._waiting.items()):
            entry = queue.pop(0)
            if not queue:
                del self._waiting[material_id]
            digest = text_digest(entry)
            if digest == self.digests[material_id]:
                self.skipped.append(self._duplicate(entry))
            elif self._writer.known(material_id, digest) and self._writer.has_graph(material_id):
                self._choose(entry, digest)
            else:
                self._trying[material_id] = entry
                yield entry, digest

    def _accept(self, material_id: str) -> None:
        self._usable[material_id] = True
        for entry in self._waiting.pop(material_id, []):
            self.skipped.append(self._duplicate(entry))

    def _duplicate(self, entry: RawCrystal) -> SkippedCrystal:
        material_id = entry.material_id
        return duplicate(entry, self._places[material_id], is_equal=text_digest(entry) == self.digests[material_id])

    def _choose(self, entry: RawCrystal, digest: bytes) -> None:
        """Let a later text count, since those before it could not be used."""
        material_id = entry.material_id
        refusal = self._refusals.pop(material_id)
        message = f"{refusal.message}; {entry.where} has the same id and counts"
        self.skipped.append(replace(refusal, message=message))
        self.digests[material_id] = digest
        self._places[material_id] = entry.where
        self._accept(material_id)

    def _may_keep(self, refusal: SkippedCrystal) -> bool:
        """Whether the writer may remember it: not a crash, since more memory may help, nor in place of a graph.

        The graph that an earlier run left may be that of a later text.
        """
        return refusal.reason != Reason.WORKER_CRASHED and not self._writer.has_graph(refusal.material_id)

    def _keep_refusals(self) -> None:
        """Keep the refusals of ids for which no text could be used."""
        for material_id, refusal in self._refusals.items():
            if refusal.reason == Reason.WORKER_CRASHED:
                self.skipped.append(refusal)
            elif self._writer.has_graph(material_id):  # of a text that the source no longer has
                self._writer.add_skipped(refusal, self.digests[material_id])
