"""What can go wrong with crystals and stores: reasons for a skip, and errors that a caller may want to tell apart."""

from dataclasses import dataclass
from enum import StrEnum


class CrystuneError(Exception):
    """A problem that the user can solve; its message says how. Commands print it without a traceback."""


def first_line(error: BaseException) -> str:
    """What an error of another library says, as a part of a line of ours."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class GraphDBError(CrystuneError):
    """A problem with crystals, targets or a store."""


class SourceError(GraphDBError):
    """The source or the targets as a whole cannot be used (absent, cut off, no structure column, ...)."""


class TaskError(GraphDBError, ValueError):
    """The tasks asked for cannot be had from the store."""


class StoreError(GraphDBError):
    """The store cannot be used (absent, foreign, busy, ...)."""


class StoreUnfinished(StoreError):
    """The build of this store was interrupted; running it again finishes it."""


class StoreVersionMismatch(StoreError):
    """The store was written in a format that this version does not read."""


class SettingsMismatch(StoreError):
    """The graph settings of the store are not the ones the caller needs."""


class CorruptRecord(StoreError):
    """Bytes on disk are not the bytes that were written."""


class Reason(StrEnum):
    """Why something in the source does not reach the store; the values stand in ``STORE.skipped.csv``."""

    UNPARSABLE = "unparsable"
    EMPTY_FILE = "empty file"
    NOT_A_STRUCTURE = "not a structure"
    SEVERAL_STRUCTURES = "several structures"
    TOO_LARGE = "too large"
    NO_ATOMS = "no atoms"
    NO_LATTICE = "no lattice"
    INVALID_CELL = "invalid cell"
    BAD_COORDINATES = "bad coordinates"
    DISORDERED = "disordered"
    UNKNOWN_ELEMENT = "unknown element"
    ELEMENT_WITHOUT_FEATURES = "element without features"
    COINCIDING_ATOMS = "coinciding atoms"
    UNKNOWN_SYMMETRY = "unknown symmetry"
    TOO_SPARSE = "too sparse"
    WORKER_CRASHED = "worker crashed"
    DUPLICATE_ID = "duplicate id"
    ID_TAKEN = "id taken"
    BAD_ID = "bad id"
    UNREADABLE = "unreadable"
    BAD_TARGET = "bad target"
    TEXT_COLUMN = "text column"
    BAD_TARGET_ROW = "bad target row"
    DUPLICATE_TARGET = "duplicate target"
    TARGET_WITHOUT_CRYSTAL = "target without crystal"
    FORMULA_DIFFERS = "formula differs"
    SITE_WITHOUT_PLACE = "site without place"
    SITES_MERGED = "sites merged"
    SYMMETRY_DIFFERS = "symmetry differs"
    IRREGULAR_TEXT = "irregular text"


class Unusable(Exception):
    """A structure that cannot be used, or that cannot become a graph.

    Attributes:
        reason: the kind of problem.
        message: what exactly, for a person.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


#: What is said of crystals that are in the store nevertheless; the other reasons say why something is not.
NOTES = frozenset(
    {
        Reason.FORMULA_DIFFERS,
        Reason.SITE_WITHOUT_PLACE,
        Reason.SITES_MERGED,
        Reason.SYMMETRY_DIFFERS,
        Reason.IRREGULAR_TEXT,
    }
)

#: One line per reason, for the report and the documentation.
REASON_TEXT: dict[Reason, str] = {
    Reason.UNPARSABLE: "the text is no structure that can be read",
    Reason.EMPTY_FILE: "nothing in it but white space",
    Reason.NOT_A_STRUCTURE: "a file, member or entry of another kind (nested archive, link, image, text, ...)",
    Reason.SEVERAL_STRUCTURES: "more than one structure where one is expected",
    Reason.TOO_LARGE: "more text or more atoms than the limits allow",
    Reason.NO_ATOMS: "a cell without atoms",
    Reason.NO_LATTICE: "no lattice: a molecule, or cell lengths or angles are missing",
    Reason.INVALID_CELL: "cell without volume, or with lengths or angles that cannot be",
    Reason.BAD_COORDINATES: "coordinates that are not finite numbers",
    Reason.DISORDERED: "a site that is partly occupied or shared by several elements",
    Reason.UNKNOWN_ELEMENT: "a species that is no chemical element, or none named",
    Reason.ELEMENT_WITHOUT_FEATURES: "an element without features (atomic number above 100)",
    Reason.COINCIDING_ATOMS: "two atoms at the same place",
    Reason.UNKNOWN_SYMMETRY: "a space group without operations that is unknown, contradictory, or has several settings",
    Reason.TOO_SPARSE: "atoms without enough neighbors even within the largest cutoff",
    Reason.WORKER_CRASHED: "the process died or ran out of memory while working on it",
    Reason.DUPLICATE_ID: "another text with the same id counts: the first one that can be used",
    Reason.ID_TAKEN: "a crystal of another folder or row has the same id and counts; give each a name of its own",
    Reason.BAD_ID: "id that is empty, too long, or has control characters",
    Reason.UNREADABLE: "the file system or the archive refused to read it",
    Reason.BAD_TARGET: "a target that is no finite number; taken as unknown",
    Reason.TEXT_COLUMN: "a target column of text; left out (in stores of earlier versions)",
    Reason.BAD_TARGET_ROW: "a row of targets with too few or too many cells, or without id",
    Reason.DUPLICATE_TARGET: "another value of a target for an id (the first row of a file counts, and the last file)",
    Reason.TARGET_WITHOUT_CRYSTAL: "rows of targets for crystals that the source lacks",
    Reason.FORMULA_DIFFERS: "stored, but the sites are not what the formula says (hydrogens without sites, ...)",
    Reason.SITE_WITHOUT_PLACE: "stored without sites that have no coordinates",
    Reason.SITES_MERGED: "stored, equal elements listed twice at one place counted once",
    Reason.SYMMETRY_DIFFERS: "stored, but the operations listed are not those of the space group named",
    Reason.IRREGULAR_TEXT: "stored, but the text breaks the grammar of CIF",
}


@dataclass(frozen=True, slots=True)
class SkippedCrystal:
    """Something that could not be used, and why.

    Attributes:
        material_id: id of the crystal; empty where none could be told.
        reason: the kind of problem.
        message: what exactly, for a person.
        where: file, archive member or row.
    """

    material_id: str
    reason: Reason
    message: str
    where: str = ""
