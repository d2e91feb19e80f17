"""Names and paths of the base models inside the package, so that a first sweep needs no download.

How they were pretrained is in `harness/embedded/recipe`, in the repository but not in the wheel.
"""

from pathlib import Path

_ROOT = Path(__file__).parent
_MARK = "config.json"


def names() -> tuple[str, ...]:
    """Names of the embedded models, in alphabetical order."""
    return tuple(sorted(child.parent.name for child in _ROOT.glob(f"*/{_MARK}")))


def path(name: str) -> Path:
    """Folder of the embedded model `name`, as `transformers` loads it.

    Raises:
        KeyError: there is no embedded model of that name.
    """
    if name not in names():
        raise KeyError(f"no embedded model {name!r}; there are: {', '.join(names()) or 'none'}")
    return _ROOT / name
