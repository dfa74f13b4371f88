"""The small data sets that TRL's own tests load, from the script in TRL's repository that makes them."""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPT = "scripts/generate_zen_dataset.py"
NAME = "trl-internal-testing/zen"
CONFIGS = ("standard_prompt_only", "conversational_prompt_only")
TEST_ROWS = 2
"""So many of the last rows are for evaluation: a tenth, as in the script."""


def rows(checkout: Path, config: str) -> list[dict[str, Any]]:
    """The rows of one configuration: the table that the script writes out as ``{config}_dataset``."""
    tree = ast.parse((checkout / SCRIPT).read_text(encoding="utf-8"))
    tables = [
        node.value.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.targets[0]) == f"{config}_dataset"
        and ast.unparse(node.value.func) == "Dataset.from_dict"
    ]
    columns = ast.literal_eval(tables[0])
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def build_data(checkout: Path, folder: Path) -> dict[str, Path]:
    """Writes the data sets below ``folder``. Returns the folder that stands for each hub name."""
    configs = []
    for config in CONFIGS:
        table = rows(checkout, config)
        (folder / "zen" / config).mkdir(parents=True, exist_ok=True)
        for split, part in (("train", table[:-TEST_ROWS]), ("test", table[-TEST_ROWS:])):
            text = "".join(json.dumps(row) + "\n" for row in part)
            (folder / "zen" / config / f"{split}.jsonl").write_text(text, encoding="utf-8")
        files = [{"split": split, "path": f"{config}/{split}.jsonl"} for split in ("train", "test")]
        configs.append({"config_name": config, "data_files": files})
    (folder / "zen" / "README.md").write_text(f"---\n{json.dumps({'configs': configs})}\n---\n", encoding="utf-8")
    return {NAME: folder / "zen"}


def redirected(load_dataset: Callable[..., Any], folders: dict[str, Path]) -> Callable[..., Any]:
    """``load_dataset`` that reads a folder where one stands for the name."""

    @functools.wraps(load_dataset)
    def load(path: str, *args: Any, **kwargs: Any) -> Any:
        return load_dataset(str(folders.get(path, path)), *args, **kwargs)

    return load
