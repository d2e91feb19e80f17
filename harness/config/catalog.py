"""Finds sweeps and tasks by name: a path, then the working folder, then the bundled copy."""

from pathlib import Path

from harness.errors import UserError, did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled_folder() -> Path:
    """The folder of the shipped `tasks/` and `sweeps/`: the wheel's, else the checkout's."""
    inside = _PACKAGE / "_bundled"
    return inside if inside.is_dir() else _PACKAGE.parent


def search_folders() -> tuple[Path, ...]:
    """Folders to search, in order of precedence."""
    here = Path.cwd()
    return (here,) if here == bundled_folder() else (here, bundled_folder())


def find_sweep(name: str) -> Path:
    """The YAML file of a sweep.

    Args:
        name: a path to a YAML file, or the name of one in `sweeps/`.

    Raises:
        UserError: there is none.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or "/" in name:
        if path.is_file():
            return path
        raise UserError(f"{name}: no such sweep file")
    for root in search_folders():
        file = root / "sweeps" / f"{name}.yaml"
        if file.is_file():
            return file
    raise UserError(f"unknown sweep '{name}'; {did_you_mean(name, list_sweeps())}")


def find_task(name: str) -> Path:
    """The folder of a task.

    Args:
        name: a path to a folder with a task.yaml, or the name of one in `tasks/`.

    Raises:
        UserError: there is none, or it has no task.yaml.
    """
    path = Path(name)
    if "/" in name:
        if (path / "task.yaml").is_file():
            return path
        raise UserError(f"{name}: no task.yaml in this folder")
    for root in search_folders():
        folder = root / "tasks" / name
        if (folder / "task.yaml").is_file():
            return folder
    raise UserError(f"unknown task '{name}'; {did_you_mean(name, list_tasks())}")


def list_sweeps() -> dict[str, Path]:
    """All sweeps by name."""
    sweeps: dict[str, Path] = {}
    for root in search_folders():
        for file in sorted((root / "sweeps").glob("*.yaml")):
            sweeps.setdefault(file.stem, file)
    return sweeps


def list_tasks() -> dict[str, Path]:
    """All tasks by name."""
    tasks: dict[str, Path] = {}
    for root in search_folders():
        for file in sorted((root / "tasks").glob("*/task.yaml")):
            tasks.setdefault(file.parent.name, file.parent)
    return tasks
