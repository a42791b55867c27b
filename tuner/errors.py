"""The errors that a caller of this package reacts to."""

from graphdb.errors import CrystuneError


class SearchError(CrystuneError):
    """What the user asked for cannot be done; the message says why and what to do, and is all that is printed."""


class SpaceError(SearchError):
    """A search space is wrong; the message names file, key and value."""


class SettingsMismatch(SearchError):
    """A run is resumed with settings that differ from those it was started with."""


class OtherCrystals(SearchError):
    """The store is not the one that a search began with."""


class TasksNotThere(SearchError):
    """The store lacks tasks."""
