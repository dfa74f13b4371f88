"""Rows of folders and of the Hugging Face hub, through `datasets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..base.text import one_line
from ..errors import DataError
from .columns import DataRow


def from_datasets(
    source: str, name: str, config: str | None, split: str | None, keep: Sequence[str] | None
) -> list[DataRow]:
    """The rows of a data set that `datasets` loads.

    Args:
        source: as the user wrote it, for messages.
        name: a folder, or a name on the hub; ``config`` is the hub's.
        split: None: ``train``, else the only one there is.
        keep: take these columns alone.

    Raises:
        DataError: it cannot be loaded, or has no such split.
    """
    import datasets

    try:
        if any((Path(name) / state).is_file() for state in ("state.json", "dataset_dict.json")):
            loaded = datasets.load_from_disk(name)
        else:
            loaded = datasets.load_dataset(name, config, split=split)
    except ConnectionError as error:
        raise DataError(
            f"the data set {source} is not on this machine, and the hub cannot be reached "
            f"({one_line(str(error))}); check the path, or download it first on a machine with a network"
        ) from None
    except (OSError, ValueError, IndexError, datasets.exceptions.DatasetsError) as error:
        reason = one_line(str(error)) or type(error).__name__
        raise DataError(f"the data set {source} cannot be loaded ({reason}); check its name and files") from None
    if isinstance(loaded, Mapping):
        wanted = split or ("train" if "train" in loaded else next(iter(loaded)) if len(loaded) == 1 else None)
        if wanted not in loaded:
            raise DataError(f"{source} has no split {split!r}; choose one of {', '.join(loaded)}")
        loaded = loaded[wanted]
    elif split is not None and loaded.split is not None and split.partition("[")[0] != str(loaded.split):
        raise DataError(f"{source} has no split {split!r}; it holds only {loaded.split}")
    if keep is not None:
        loaded = loaded.select_columns([n for n in loaded.column_names if n in keep])
    rows: list[DataRow] = loaded.to_list()
    return rows
