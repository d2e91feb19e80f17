"""`Registry`: entries by name; refuses duplicates and suggests a name on a typo."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from harness.errors import UserError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries by name, in the order they were added.

    Args:
        noun: what an entry is called in messages, such as `variant`.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Adds an entry and returns it.

        Raises:
            ValueError: the name is taken (a fault of the program, not of the user).
        """
        if name in self._entries:
            raise ValueError(f"{self.noun} '{name}' is registered twice")
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises:
            UserError: there is none; says which was probably meant.
        """
        if name not in self._entries:
            raise UserError(f"unknown {self.noun} '{name}'; {did_you_mean(name, self._entries)}")
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        """All names, in the order they were added."""
        return tuple(self._entries)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        """Names with their entries."""
        return iter(tuple(self._entries.items()))

    def __contains__(self, name: object) -> bool:
        """Whether an entry has that name."""
        return name in self._entries
