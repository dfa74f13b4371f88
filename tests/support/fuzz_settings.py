"""Wrong values for every key of a recipe: ``python fuzz_settings.py [--train-every N] [KEY …]`` in an empty folder.

Each value is read; of those that are taken, the first of each key (the oddest one) is trained with for a step (of
every N-th key alone, because all of them take minutes). Prints a
JSON line for each: exit code, what was said, and whether a traceback was shown.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import traceback
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
import yaml
from trl import ModelConfig

import p2o.runs.export
import p2o.trl.trainer  # noqa: F401 (imported once, before the forks)
from p2o.base.coerce import union_options
from p2o.cli.main import main
from p2o.errors import P2OError
from p2o.runs.recipe import RecipeConfig, load_recipe
from p2o.trl.config import P2OConfig

ENDLESS = {"max_steps", "num_train_epochs"}
"""Keys whose odd values are taken and make a run that lasts."""
SLOW = {("torch_compile", "true")}
RECIPE: dict[str, Any] = {
    "model_name_or_path": "builtin:sandbox", "train": "rows.jsonl", "eval": "eval.jsonl", "rewards": ["last_number"],
    "num_generations": 4, "per_device_train_batch_size": 16, "use_cpu": True, "bf16": False, "max_steps": 1,
    "gradient_checkpointing": False, "report_to": "none", "reflector": "phrases", "max_completion_length": 2,
    "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1,
}  # fmt: skip


def odd_values(hint: Any) -> list[str]:
    """Values of another type, out of range, or that name nothing; the oddest first."""
    values: list[str] = []
    for option in union_options(hint):
        origin = get_origin(option) or option
        if origin is int:
            values += ["-1", "0", "1000000000000"]
        elif origin is float:
            values += ["-1", "0", "1e12"]
        elif origin is str:
            values += ["nosuch", "/no/such", ""]
        elif origin is list:
            values += ["[x]", "[1]", "[]"]
        elif origin is dict:
            values += ["{a: {b: 1}}", "{a: 1}", "{}"]
        elif origin is bool:
            values += ["true", "false"]
        elif origin is Literal:
            values += [str(choice) for choice in get_args(option)]
        elif isinstance(origin, type) and issubclass(origin, Enum):
            values += ["nosuch"]
        elif origin is type(None):
            values += ["null"]
    return [*dict.fromkeys(values), "{x", "x"]


def cases() -> dict[str, list[str]]:
    """Key → odd values."""
    found: dict[str, list[str]] = {}
    for part in (RecipeConfig, P2OConfig, ModelConfig):
        hints = get_type_hints(part)
        for f in fields(part):
            if f.init and f.name not in ("output_dir", "use_cpu"):
                found.setdefault(f.name, odd_values(hints[f.name]))
    return found


def in_a_process(key: str, values: list[str], train: bool) -> list[dict[str, Any]]:
    """Reads a recipe with each value, or trains it, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        pid = os.fork()
        if pid == 0:
            signal.alarm(120)
            for n, value in enumerate(values):
                _say_outcome(key, value, train, Path(folder), n)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return [_outcome(key, value, train, Path(folder), n, ended) for n, value in enumerate(values)]


def _say_outcome(key: str, value: str, train: bool, folder: Path, n: int) -> None:
    target = os.open(folder / f"{n}.log", os.O_CREAT | os.O_WRONLY)
    os.dup2(target, 1)
    os.dup2(target, 2)
    code = 70
    try:
        if train:
            code = main(["train", "r.yaml", f"--output_dir={folder / 'run'}", f"--{key}={value}"])
        else:
            load_recipe("r.yaml", [f"--{key}={value}"])
            code = 0
    except P2OError as error:
        print(f"p2o: {error}")
        code = 2
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    (folder / f"{n}.code").write_text(str(code))


def _outcome(key: str, value: str, train: bool, folder: Path, n: int, ended: int) -> dict[str, Any]:
    file, log = folder / f"{n}.code", folder / f"{n}.log"
    code = int(file.read_text()) if file.exists() else ended
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    said = [line for line in text.splitlines() if line.startswith("p2o: ")]
    bad = code not in (0, 2) or not file.exists() or "Traceback" in text or (code == 2 and len(said) != 1)
    return {"key": key, "value": value, "trained": train, "code": code, "said": said[-1:] or text[-500:], "bad": bad}


def write_files() -> None:
    rows = [{"prompt": f"What is {300 + n} + 867?", "answer": str(n + 1167)} for n in range(4)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Path("eval.jsonl").write_text(json.dumps({"prompt": "What is 3 + 4?", "answer": "7"}), encoding="utf-8")
    Path("r.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--train-every", type=int, default=1)
    parser.add_argument("keys", nargs="*")
    options = parser.parse_args()
    write_files()
    for number, (name, values) in enumerate(cases().items()):
        if options.keys and name not in options.keys:
            continue
        results = in_a_process(name, values, False)
        taken = [r["value"] for r in results if r["code"] == 0 and (name, r["value"]) not in SLOW]
        if taken and name not in ENDLESS and number % options.train_every == 0:
            results += in_a_process(name, taken[:1], True)
        for result in results:
            print(json.dumps(result), flush=True)
