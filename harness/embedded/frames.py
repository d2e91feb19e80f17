"""What a domain is: sentence frames with named slots, fillers for them, and label words."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.embedded.words import Filler

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Domain:
    """A small world: what can stand in its sentences, and how each slot may be called."""

    name: str
    fillers: Mapping[str, Filler]
    labels: Mapping[str, tuple[str, ...]]
    frames: tuple[str, ...]
    pieces: tuple[tuple[str, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Cuts each frame once: texts at even places, slot names at odd ones."""
        cut = tuple(tuple(_SLOT.split(frame)) for frame in self.frames)
        object.__setattr__(self, "pieces", cut)
        unknown = {slot for frame in cut for slot in frame[1::2]} - set(self.fillers)
        if unknown:
            raise ValueError(f"{self.name}: frames name slots without a filler: {sorted(unknown)}")


def domain(name: str, slots: dict[str, tuple[Filler, str]], frames: str) -> Domain:
    """A domain from slot -> (filler, "label words apart by blanks") and one frame a line."""
    return Domain(
        name,
        {slot: filler for slot, (filler, _) in slots.items()},
        {slot: tuple(labels.split()) for slot, (_, labels) in slots.items()},
        tuple(line.strip() for line in frames.strip().splitlines()),
    )
