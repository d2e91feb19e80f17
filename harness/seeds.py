"""Derives independent seeds from a trial's seed, one for each purpose.

Data order, initialisation and dropout never share a generator: an adapter of rank 64 draws more
initial numbers than one of rank 1, and must not shift the order of the data by that.
"""

import hashlib
from enum import StrEnum


class Purpose(StrEnum):
    """What random numbers are drawn for."""

    DATA_ORDER = "data_order"
    INITIALISATION = "initialisation"
    DROPOUT = "dropout"
    HEAD = "head"


def derive(seed: int, purpose: Purpose) -> int:
    """A seed of 63 bits for one purpose, the same on every machine and in every process."""
    digest = hashlib.sha256(f"{seed}/{purpose.value}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
