"""Data sets as samples with stable ids, and as the data set that TRL trains on.

| source | what it is |
|---|---|
| ``path/to/rows.jsonl``, ``.json``, ``.csv``, ``.parquet`` | a file (its only split is called ``train``) |
| ``path/to/folder`` | a data set saved with ``save_to_disk``, or a folder of data files |
| ``name``, ``owner/name``, ``owner/name:config`` | a data set of the Hugging Face hub |
| ``reasoning_gym:NAME?size=100&seed=1&key=value`` | a generator of reasoning-gym (seed 0 unless given) |
| ``builtin:sandbox/train`` | rows that come with this package |

verl's parquet files are recognised by their columns: without an answer column, the answer is
``reward_model["ground_truth"]`` (text, or a mapping with ``target``: one or several right answers).
"""

from .columns import DEFAULT_COLUMNS, FALLBACK_PROMPT_COLUMNS, RESERVED, DataColumns, DataRow
from .load import load_rows, load_samples
from .row import content_id, numbered, stable_id
from .trl_dataset import check_prompts, row_of, sample_of, to_dataset, with_sample_ids

__all__ = [
    "DEFAULT_COLUMNS",
    "FALLBACK_PROMPT_COLUMNS",
    "RESERVED",
    "DataColumns",
    "DataRow",
    "check_prompts",
    "content_id",
    "load_rows",
    "load_samples",
    "numbered",
    "row_of",
    "sample_of",
    "stable_id",
    "to_dataset",
    "with_sample_ids",
]
