"""The folder a simulation writes: whose it is, so that only its own work is gone on with."""

from pathlib import Path
from typing import Any

import yaml

from vitreous.errors import InputError
from vitreous.files import write_text

DESCRIPTION = "simulation.yaml"


def check_folder(folder: Path, word: str) -> None:
    """Refuse a folder that was begun with other inputs.

    **Arguments:** `word`: fingerprint of everything the files depend on.

    **Raises:** `InputError`.
    """
    described = folder / DESCRIPTION
    try:
        earlier = yaml.safe_load(described.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{described}: cannot be read ({error}); choose another folder") from error
    if not isinstance(earlier, dict) or earlier.get("fingerprint") != word:
        raise InputError(
            f"{folder}: holds part of another set; choose another folder, repeat the options that "
            "began it, or --overwrite"
        )


def describe_folder(folder: Path, options: dict[str, Any], word: str) -> None:
    """Write the options and the fingerprint."""
    text = yaml.safe_dump({**_plain(options), "fingerprint": word}, sort_keys=False)
    write_text(folder / DESCRIPTION, text)


def _plain(value: Any) -> Any:
    """Turn tuples into lists, which YAML has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
