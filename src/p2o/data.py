"""Data sets as samples with stable ids, and as the data set that TRL trains on.

| source | what it is |
|---|---|
| ``path/to/rows.jsonl``, ``.json``, ``.parquet`` | a file (its only split is called ``train``) |
| ``path/to/folder`` | a data set saved with ``save_to_disk``, or a folder of data files |
| ``name``, ``owner/name``, ``owner/name:config`` | a data set of the Hugging Face hub |
| ``reasoning_gym:NAME?size=100&seed=1&key=value`` | a generator of reasoning-gym (seed 0 unless given) |
| ``builtin:sandbox/train`` | rows that come with this package |

verl's parquet files are recognised by their columns: without an answer column, the answer is
``reward_model["ground_truth"]`` (text, or a mapping with ``target``: one or several right answers).
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import hashlib
import importlib.resources
import json
import random
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from p2o.errors import DataError
from p2o.samples import Message, Sample
from p2o.verify import pack_json

Row = dict[str, Any]

FALLBACK_PROMPT_COLUMNS = ("question", "problem")
"""Taken in this order where there is no column ``prompt`` and none was named."""

RESERVED = (
    "prompts",
    "completion",
    "completions",
    "completion_ids",
    "trainer_state",
    "log_extra",
    "log_metric",
)
"""Names that TRL itself passes to reward functions; no column may have them."""


@dataclass(frozen=True)
class DataColumns:
    """Which columns make a sample, and what is done to the prompt."""

    prompt_column: str = "prompt"
    """Text (becomes one user message) or chat messages. See FALLBACK_PROMPT_COLUMNS."""
    answer_column: str = "answer"
    """Text or number; a list holds several right answers."""
    id_column: str | None = None
    """None: ``id`` if all rows have one, else verl's index if unique, else a hash of messages and answer."""
    system_prompt: str | None = None
    """Put in front of prompts that have no system message."""
    prompt_prefix: str = ""
    """Put directly before the text of the last user message (bring your own blank line)."""
    prompt_suffix: str = ""
    limit: int | None = None
    """Take a random subset of at most so many rows, in their order."""
    seed: int = 0
    """Of the random subset."""
    require_answer: bool = True
    """Refuse rows without an answer (reasoning-gym rows, which their own scorer checks, may have none)."""


DEFAULT_COLUMNS = DataColumns()


def load_samples(source: str, *, split: str | None = None, columns: DataColumns = DEFAULT_COLUMNS) -> list[Sample]:
    """Read a source (see the table above) into samples with unique ids.

    Raises DataError: one sentence with the source and the row (counted from 1, blank lines not).
    """
    rows = load_rows(source, split=split, columns=columns)
    prompt_column = _prompt_column(rows, columns)
    chosen = range(len(rows))
    if columns.limit is not None and columns.limit < len(rows):
        chosen = sorted(random.Random(columns.seed).sample(chosen, columns.limit))  # type: ignore[assignment]
    ids = _given_ids(source, rows, columns)
    samples: dict[str, Sample] = {}
    places: dict[str, int] = {}
    copies = 0
    for index in chosen:
        place = f"row {index + 1} of {source}"
        messages = _messages(rows[index].get(prompt_column), place)
        answers = _answers(rows[index], place, columns)
        sample_id = stable_id(messages, answers) if ids is None else ids[index]
        if sample_id in samples and ids is None:
            copies += 1
            continue
        if sample_id in samples:
            raise DataError(
                f"rows {places[sample_id] + 1} and {index + 1} of {source} have the same id {sample_id!r}; "
                "mend one, or name another id_column"
            )
        others = {k: v for k, v in rows[index].items() if k not in ("prompt", "answer", "answers", "sample_id")}
        if len(answers) > 1:
            others["answers"] = answers
        answer = answers[0] if answers else None
        samples[sample_id] = Sample(sample_id, _prompted(messages, columns), answer, others, place)
        places[sample_id] = index
    if copies:
        warnings.warn(f"{source}: {copies} rows repeat an earlier prompt and answer; left out", stacklevel=2)
    return list(samples.values())


def load_rows(
    source: str,
    *,
    split: str | None = None,
    columns: DataColumns = DEFAULT_COLUMNS,
    keep: Sequence[str] | None = None,
) -> list[Row]:
    """All rows of a source as they stand in it, once it is known that they have the columns.

    Args:
        keep: read these columns alone (parquet and HF data sets; long ones fill the memory).

    Raises DataError for a source that cannot be read, is empty, or lacks a column.
    """
    rows = _read(source, split, keep)
    if not rows:
        raise DataError(f"{source} holds no rows; give a data set with at least one")
    present = list(dict.fromkeys(name for row in rows for name in row))
    missing = []
    if _prompt_column(rows, columns) not in present:
        missing.append(("prompt_column", columns.prompt_column))
    if (
        columns.require_answer
        and columns.answer_column not in present
        and "reward_model" not in present
        and "reasoning_gym_entry" not in present
    ):
        missing.append(("answer_column", columns.answer_column))
    if columns.id_column is not None and columns.id_column not in present:
        missing.append(("id_column", columns.id_column))
    for setting, name in missing:
        raise DataError(
            f"{source} has no column {name!r}; name the right one in {setting} (it has {', '.join(present)})"
        )
    for name in RESERVED:
        if name in present:
            raise DataError(f"{source} has a column {name!r}, a name that TRL reserves; rename the column")
    return rows


def stable_id(messages: Sequence[Message], answers: Sequence[str]) -> str:
    """16 hexadecimal digits made from roles, contents and answers alone."""
    text = json.dumps([[[m["role"], m["content"]] for m in messages], list(answers)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_dataset(samples: Sequence[Sample]) -> Any:
    """The `datasets.Dataset` for TRL: ``prompt`` (messages), ``sample_id``, ``answer``, all other columns.

    Raises DataError if a column holds values of several types.
    """
    import datasets
    import pyarrow

    names = dict.fromkeys(name for sample in samples for name in sample.columns)
    table: dict[str, list[Any]] = {name: [sample.columns.get(name) for sample in samples] for name in names}
    table["prompt"] = [[dict(message) for message in sample.messages] for sample in samples]
    table["sample_id"] = [sample.id for sample in samples]
    table["answer"] = [sample.answer for sample in samples]
    for name, values in table.items():
        try:
            pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"column {name!r} mixes types and cannot be kept ({reason}); drop or mend it") from None
    return datasets.Dataset.from_dict(table)


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row that came back from TRL: the inverse of `to_dataset`.

    Rows of other data sets will do: a text prompt becomes a user message, a missing ``sample_id`` a hash.
    """
    prompt, answer = row["prompt"], row.get("answer")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    text = None if answer is None else str(answer)
    sample_id = row.get("sample_id")
    if sample_id is None:
        sample_id = stable_id(messages, [] if text is None else [text])
    others = {name: value for name, value in row.items() if name not in ("prompt", "answer", "sample_id")}
    return Sample(str(sample_id), messages, text, others)


# From a row to a sample


def _prompt_column(rows: Sequence[Row], columns: DataColumns) -> str:
    """The prompt column, or the first fallback that is present if ``prompt`` is not."""
    if columns.prompt_column == "prompt" and not any("prompt" in row for row in rows):
        return next((name for name in FALLBACK_PROMPT_COLUMNS if any(name in row for row in rows)), "prompt")
    return columns.prompt_column


def _messages(prompt: Any, place: str) -> list[dict[str, str]]:
    if isinstance(prompt, str) and prompt.strip():
        return [{"role": "user", "content": prompt}]
    if not prompt or isinstance(prompt, str):
        raise DataError(f"{place} has no prompt; fill it in or drop the row")
    if not isinstance(prompt, list) or not all(isinstance(message, Mapping) for message in prompt):
        raise DataError(f"the prompt in {place} is neither text nor a list of chat messages")
    for message in prompt:
        if message.get("role") not in ("system", "user", "assistant") or not isinstance(message.get("content"), str):
            raise DataError(
                f"a message in {place} is not of the form {{role: system, user or assistant, content: text}}"
            )
    if not any(message["role"] == "user" and message["content"].strip() for message in prompt):
        raise DataError(f"the prompt in {place} has no user message with text; add one or drop the row")
    return [{"role": message["role"], "content": message["content"]} for message in prompt]


def _prompted(messages: list[dict[str, str]], columns: DataColumns) -> list[dict[str, str]]:
    """With the system prompt, and prefix and suffix around the last user message."""
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    text = f"{columns.prompt_prefix}{messages[last]['content']}{columns.prompt_suffix}"
    messages = [*messages[:last], {"role": "user", "content": text}, *messages[last + 1 :]]
    if columns.system_prompt is not None and all(message["role"] != "system" for message in messages):
        messages = [{"role": "system", "content": columns.system_prompt}, *messages]
    return messages


def _answers(row: Row, place: str, columns: DataColumns) -> list[str]:
    """All right answers of a row; none only where that is allowed."""
    value = row.get(columns.answer_column)
    if value is None and isinstance(row.get("reward_model"), Mapping):
        value = row["reward_model"].get("ground_truth")
        if isinstance(value, Mapping):
            value = value.get("target")
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, str | int | float) for item in values):
        raise DataError(f"the answer in {place} is neither text nor a number")
    answers = [str(item) for item in values if str(item).strip()]
    if not answers and columns.require_answer and "reasoning_gym_entry" not in row:
        raise DataError(f"{place} has no answer; fill it in, drop the row, or set require_answer to false")
    return answers


def _given_ids(source: str, rows: Sequence[Row], columns: DataColumns) -> list[str] | None:
    """The ids that the rows bring; None: make them from the text."""
    name = columns.id_column
    if name is None and all(row.get("id") is not None for row in rows):
        name = "id"
    if name is not None:
        for number, row in enumerate(rows, start=1):
            if row.get(name) is None:
                raise DataError(f"row {number} of {source} has no {name!r}; fill it in or set no id_column")
        return [str(row[name]) for row in rows]
    infos = [info for row in rows if isinstance(info := row.get("extra_info"), Mapping)]
    if len(infos) < len(rows) or any(info.get("index") is None for info in infos):
        return None
    ids = [
        f"{row.get('data_source', '')}:{info.get('split', '')}:{info['index']}"
        for row, info in zip(rows, infos, strict=True)
    ]
    return ids if len(set(ids)) == len(ids) else None  # files joined from several sources repeat them


# Reading


def _read(source: str, split: str | None, keep: Sequence[str] | None) -> list[Row]:
    scheme, _, rest = source.partition(":")
    if scheme == "reasoning_gym":
        return _from_gym(source, rest)
    if scheme == "builtin":
        return _from_package(source, rest, split)
    path = Path(source).expanduser()
    if path.suffix in (".jsonl", ".json", ".parquet"):
        _only_train(source, split)
        if not path.is_file():
            raise DataError(f"there is no file {source}; check the path (it is taken from the working directory)")
        return _from_parquet(path, keep) if path.suffix == ".parquet" else _from_json(path)
    if path.is_dir():
        return _from_datasets(source, str(path), None, split, keep)
    match = re.fullmatch(r"([\w.-]+(?:/[\w.-]+)?)(?::([\w.-]+))?", source)
    if match is None or source.startswith("."):
        raise DataError(
            f"there is no data set {source}; give a .jsonl, .json or .parquet file, a folder, a hub name, "
            "reasoning_gym:NAME or builtin:NAME"
        )
    return _from_datasets(source, match[1], match[2], split, keep)


def _only_train(source: str, split: str | None) -> None:
    if split not in (None, "train"):
        raise DataError(f"{source} has no split {split!r}; a file has one split, called train")


def _from_json(path: Path) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from None
    whole = path.suffix == ".json" and text.lstrip().startswith("[")
    lines = [(0, text)] if whole else [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    rows: list[Any] = []
    for number, line in lines:
        try:
            value = json.loads(line)
        except ValueError as error:
            number = number or getattr(error, "lineno", 0)
            raise DataError(f"line {number} of {path} is not valid JSON ({error}); mend or drop it") from None
        rows.extend(value if whole else [value])
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"row {number} of {path} is not a JSON object with columns")
    return rows


def _from_parquet(path: Path, keep: Sequence[str] | None) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        names = None if keep is None else [n for n in parquet.read_schema(path).names if n in keep]
        rows: list[Row] = parquet.read_table(path, columns=names).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from None
    return rows


def _from_package(source: str, name: str, split: str | None) -> list[Row]:
    _only_train(source, split)
    package = importlib.resources.files("p2o")
    folder, _, stem = name.partition("/")
    present = [
        f"builtin:{entry.name}/{file.name.removesuffix('.jsonl')}"
        for entry in package.iterdir()
        if entry.is_dir()
        for file in entry.iterdir()
        if file.name.endswith(".jsonl")
    ]
    if source not in present:
        raise DataError(f"there is no {source}{nearest(source, present)}; there are {', '.join(sorted(present))}")
    with importlib.resources.as_file(package / folder / f"{stem}.jsonl") as path:
        return _from_json(path)


def _from_datasets(
    source: str, name: str, config: str | None, split: str | None, keep: Sequence[str] | None
) -> list[Row]:
    import datasets

    try:
        if any((Path(name) / state).is_file() for state in ("state.json", "dataset_dict.json")):
            loaded = datasets.load_from_disk(name)
        else:
            loaded = datasets.load_dataset(name, config, split=split)
    except ConnectionError as error:
        raise DataError(
            f"the data set {source} is not on this machine, and the hub cannot be reached "
            f"({error}); check the path, or download it first on a machine with a network"
        ) from None
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"the data set {source} cannot be loaded: {reason}") from None
    if isinstance(loaded, Mapping):
        wanted = split or ("train" if "train" in loaded else next(iter(loaded)) if len(loaded) == 1 else None)
        if wanted not in loaded:
            raise DataError(f"{source} has no split {split!r}; choose one of {', '.join(loaded)}")
        loaded = loaded[wanted]
    elif split is not None and loaded.split is not None and split.partition("[")[0] != str(loaded.split):
        raise DataError(f"{source} has no split {split!r}; it holds only {loaded.split}")
    if keep is not None:
        loaded = loaded.select_columns([n for n in loaded.column_names if n in keep])
    rows: list[Row] = loaded.to_list()
    return rows


def _from_gym(source: str, spec: str) -> list[Row]:
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError:
        raise DataError(f"{source} needs reasoning-gym; run pip install 'p2o-rl[reasoning-gym]'") from None

    name, _, query = spec.partition("?")
    if name not in DATASETS:
        raise DataError(f"reasoning-gym has no data set {name!r}{nearest(name, DATASETS)}; see {source}")
    known = [field.name for field in dataclasses.fields(DATASETS[name][1])]
    settings: dict[str, Any] = {"seed": 0}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise DataError(
                f"{name} of reasoning-gym has no setting {key!r}{nearest(key, known)}; it has {', '.join(known)}"
            )
        settings[key] = _literal(value)
    try:
        entries = list(create_dataset(name, **settings))
    except Exception as error:  # a generator may raise anything on settings that do not fit together
        raise DataError(f"{source} cannot be generated: {type(error).__name__}: {error}") from None
    return [
        {
            "prompt": entry["question"],
            "answer": entry["answer"],
            "reasoning_gym": name,
            "reasoning_gym_entry": pack_json(entry),
        }
        for entry in entries
    ]


def _literal(text: str) -> Any:
    """``3``, ``0.5``, ``[1, 2]``, ``true`` or ``None`` as Python values, anything else as text."""
    if text in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def nearest(name: str, names: Iterable[str]) -> str:
    """`` (did you mean …?)`` with the names most like ``name``, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
