"""The one error a user is meant to read: a mistake of theirs, told in one line.

Everything that a user can get wrong (a typo in YAML, a missing file, an impossible combination)
is raised as `UserError`; the command line prints its text and leaves with exit code 2.
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's, told in one line that says where it is and what would be right."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Says which known word was probably meant, else which words there are.

    Args:
        word: what the user wrote.
        known: the words that would have been right.

    Returns:
        A clause to put behind "unknown ...": `did you mean 'dora'?` or `known: dora, lora`.
    """
    names = sorted(str(name) for name in known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + (", ".join(names) or "none")
