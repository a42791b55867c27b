"""What became of the crystals that were predicted, counted and told."""

import sys
from dataclasses import dataclass, field
from typing import TextIO

from graphdb.command import count


@dataclass(slots=True)
class Tally:
    """Crystals by what became of them."""

    read: int = 0
    """In the table."""
    failed: int = 0
    """Without prediction."""
    warned: int = 0
    """With an element that was not in training."""
    noted: int = 0
    """Doubtful for another reason."""
    others: int = 0
    """No crystals: files of another kind, and second ones of a crystal."""
    repeated: int = 0
    """With the id of a crystal of a file before."""
    elements_known: bool = field(default=True, kw_only=True)
    """Whether the model tells what it was trained on."""
    empty: list[str] = field(default_factory=list, kw_only=True)
    """Sources without a crystal."""

    @property
    def predicted(self) -> int:
        """Crystals with predictions."""
        return self.read - self.failed

    @property
    def numbers(self) -> tuple[int, int, int, int, int, int]:
        """The counts, in order."""
        return self.read, self.failed, self.warned, self.noted, self.others, self.repeated

    def add(self, other: "Tally") -> None:
        """Count what another one counted, too."""
        self.read += other.read
        self.failed += other.failed
        self.warned += other.warned
        self.noted += other.noted
        self.others += other.others
        self.repeated += other.repeated

    def tell(self, output: str | None, stream: TextIO | None = None) -> None:
        """Say it to a person.

        Args:
            output: where the table is; None for the screen.
            stream: where to; stderr by default.
        """
        where = f", table in {output}" if output else ""
        lines = [f"{self.predicted:,} of {self.read:,} crystals predicted{where}"]
        if self.failed:
            lines.append(f"{self.failed:,} not: the column 'error' says why")
        if self.others:
            lines.append(
                f"{count(self.others, 'file')} beside them: of another kind, or of a crystal that is there already; "
                "the column 'error' says what each is"
            )
        if self.empty:
            lines.append(f"no crystal in {', '.join(self.empty)}")
        if self.warned:
            lines.append(
                f"{count(self.warned, 'crystal')} with elements that the model has not seen in training: the column "
                "'warning' names them, their predictions are guesses"
            )
        if self.noted:
            lines.append(
                f"{count(self.noted, 'crystal')} may not be what the file means: the column 'warning' says why"
            )
        if self.repeated:
            lines.append(
                f"{count(self.repeated, 'crystal')} whose id a file before has too: the column 'warning' names it"
            )
        if not self.elements_known:
            lines.append("note: this model does not say which elements it was trained on, so nothing warns of others")
        print("\n".join(lines), file=stream or sys.stderr)
