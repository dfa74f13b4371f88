"""Kills a small training run with SIGKILL, resumes it, and compares what it ends with against an undisturbed run.

    python benchmarks/kill_resume.py [--random 20] [--kill POINT ...] [--seed 0] [--out FILE]

A point is one of

    loss:N      in the N-th forward pass of a training step (all counts are from 0)
    epoch:N     between the last step before epoch N and the evolution there
    rollout:N   inside an evolution, when its N-th batch of rollouts was made and is not yet written down
    reply:N     inside an evolution, before the reflector is asked for the N-th time
    save:N      while the N-th checkpoint is written: the weights are there, the optimizer is not
    torn:N      while the N-th checkpoint's last file is written
    saved:N     right after the N-th checkpoint
    eval:N      before the N-th evaluation, which follows the checkpoint of an epoch's last step
    time:X      after X seconds of training, wherever that is

and several joined by "+" kill the resumed run again. TERM@POINT and INT@POINT send SIGTERM and SIGINT instead, after
which the run saves its state itself. Prints one JSON object; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ALL_FOUR = "Show your work. Go from right to left. Carry the ones. State the total at the end."
RECIPE = f"""
train: builtin:sandbox/train
max_train_samples: 16
rewards: [last_number]
num_generations: 4
per_device_train_batch_size: 16
steps_per_generation: 2
gradient_accumulation_steps: 1
max_completion_length: 56
learning_rate: 2.0e-4
lr_scheduler_type: linear
tau: 2
hard_min_count: 4
dev_size: 6
withdrawal: graduated
sampling: adaptive
scale_steps: true
pull: 0.01
evolve_budget: 90
evolve_parents: 4
evolve_max_iterations: 2
fill_proposals: true
warm_start: true
reflector: phrases
reflector_max_phrases: 1
reflector_phrases: ["{ALL_FOUR}", Be careful.]
use_cpu: true
bf16: false
gradient_checkpointing: false
eval_strategy: epoch
save_strategy: steps
save_steps: 1
logging_steps: 1
report_to: none
disable_tqdm: true
"""
"""Four steps an epoch, with an evolution before every epoch but the first. Each batch of rollouts serves two steps, so
that every second checkpoint falls between them."""

TIMES = ("seconds", "step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second")
PER_CALL = ("train_loss",)
"""What HF's trainer says of one call of train() alone."""


def train(run_dir: Path, recipe: Path, resume: bool, hook: Callable[[], None] | None = None) -> int:
    """Trains in a forked process; the exit code, negative for a signal. ``hook`` runs in it first."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            log = os.open(f"{run_dir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if hook is not None:
                hook()
            from p2o.cli.main import main

            code = main(["train", str(recipe), "--output_dir", str(run_dir), *(["--resume"] if resume else [])])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killer(point: str) -> Callable[[], None]:
    """Arms a process so that it kills itself at ``point``."""
    name, place = point.split("@") if "@" in point else ("KILL", point)
    sent = signal.Signals[f"SIG{name}"]
    what, _, number = place.partition(":")
    counts: Counter[str] = Counter()

    def reached(kind: str) -> None:
        if kind == what and counts[kind] == int(number):
            os.kill(os.getpid(), sent)
        counts[kind] += 1

    def before(owner: Any, name: str, kind: str, when: Callable[..., bool] = lambda *_: True) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if when(*args):
                reached(kind)
            return original(*args, **kwargs)

        setattr(owner, name, wrapped)

    def arm() -> None:
        if what == "time":
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, float(number))
            return
        from transformers import TrainerState
        from transformers.trainer_callback import CallbackHandler

        from p2o.base.journal import Journal
        from p2o.core.evolve.asking import Asker
        from p2o.trl.trainer import P2OTrainer

        before(P2OTrainer, "_compute_loss", "loss")
        if what == "epoch":
            before(P2OTrainer, "begin_epoch", "epoch")
        before(Asker, "ask", "reply")
        before(Journal, "append", "rollout", lambda journal, *_: journal.path.name == "rollouts.jsonl")
        before(P2OTrainer, "_save_optimizer_and_scheduler", "save")
        if what == "torn":

            def tear(state: Any, path: str) -> None:
                Path(path).write_text('{"best_global_step": nu', encoding="utf-8")
                reached("torn")
                original(state, path)

            original = TrainerState.save_to_json
            TrainerState.save_to_json = tear
        before(CallbackHandler, "on_save", "saved")
        before(P2OTrainer, "evaluate", "eval")

    return arm


def fingerprint(run_dir: Path) -> dict[str, str]:
    """Digest of all that a finished run must end with, by file; figures of time are left out."""
    from p2o.base.rows import METRICS_FILE, read_rows

    last = max(run_dir.glob("checkpoint-*"), key=lambda p: int(p.name.partition("-")[2]))
    found = {"weights": (last / "model.safetensors").read_bytes(), "optimizer": optimizer_bytes(last)}
    for path in sorted((run_dir / "p2o").rglob("*.json*")):
        name = str(path.relative_to(run_dir))
        if path.name == METRICS_FILE:
            found[name] = json.dumps(without_times(read_rows(path)), sort_keys=True).encode()
        elif path.suffix == ".jsonl":
            found[name] = path.read_bytes()
        elif path.name != "inputs.json":
            found[name] = json.dumps(without_times(json.loads(path.read_text())), sort_keys=True).encode()
    return {name: hashlib.sha256(data).hexdigest()[:16] for name, data in found.items()}


def optimizer_bytes(checkpoint: Path) -> bytes:
    import torch

    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    return b"".join(v.numpy().tobytes() for i in sorted(state) for _, v in sorted(state[i].items()))


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES + PER_CALL}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def kill_and_resume(run_dir: Path, recipe: Path, points: str) -> dict[str, Any]:
    """Kills at each of the points in turn, then lets the run finish. What was seen, and the fingerprint."""
    from p2o.trl.checkpoint import latest_checkpoint

    seen, resumed_from = [], []
    for point in [*points.split("+"), ""]:
        checkpoint = latest_checkpoint(run_dir)
        resumed_from.append(Path(checkpoint).name if checkpoint else None)
        code = train(run_dir, recipe, checkpoint is not None, killer(point) if point else None)
        seen.append("killed" if code == -signal.SIGKILL else f"exit {code}")
    lines = Path(f"{run_dir}.log").read_text().splitlines()
    stopped = [line for line in lines if line.startswith("p2o: training stopped")]
    return {
        "kill": points,
        "seen": seen,
        "resumed_from": resumed_from[1:],
        "said": stopped,
        "found": fingerprint(run_dir),
    }


def differences(run: dict[str, Any], reference: dict[str, str]) -> list[str]:
    found = run.pop("found")
    return sorted(name for name in reference.keys() | found.keys() if found.get(name) != reference.get(name))


def random_points(count: int, seconds: float, rng: random.Random) -> list[str]:
    """Random times; every fourth run is killed twice."""
    points = [f"time:{rng.uniform(0.02, 1) * seconds:.2f}" for _ in range(count)]
    return [f"{p}+time:{rng.uniform(0.02, 1) * seconds:.2f}" if n % 4 == 3 else p for n, p in enumerate(points)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=0, help="kill at this many random times")
    parser.add_argument("--kill", nargs="*", default=[], help="points, see above")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, help="keep the runs in this folder")
    args = parser.parse_args()
    import p2o.runs.building
    import p2o.trl.trainer  # noqa: F401  (imported once, before the forks)
    from p2o.generation.models import resolve_model

    work = args.work or Path(tempfile.mkdtemp(prefix="kill-resume-"))
    work.mkdir(parents=True, exist_ok=True)
    recipe = work / "small.yaml"
    policy = work / "policy"
    if not policy.exists():
        shutil.copytree(resolve_model("builtin:sandbox"), policy)
    dev = work / "dev.jsonl"
    rows = [{"prompt": f"What is {n} + {n + 5}?", "answer": str(2 * n + 5)} for n in range(1, 9)]
    dev.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    places = f"model_name_or_path: {policy}\neval: {dev}\n"
    recipe.write_text(f"{RECIPE}{places}num_train_epochs: {args.epochs}\n", encoding="utf-8")
    start = time.perf_counter()
    code = train(work / "undisturbed", recipe, False)
    assert code == 0, f"exit {code}: {(work / 'undisturbed.log').read_text()[-2000:]}"
    seconds = time.perf_counter() - start
    reference = fingerprint(work / "undisturbed")
    assert train(work / "again", recipe, False) == 0
    again = differences({"found": fingerprint(work / "again")}, reference)
    templated = json.loads((work / "undisturbed/p2o/epoch-000.json").read_text())["summary"]["templated_next"]
    assert templated, "the recipe is of no use here: no sample has a template"
    runs = []
    for n, point in enumerate([*args.kill, *random_points(args.random, seconds, random.Random(args.seed))]):
        run = kill_and_resume(work / f"run-{n:02d}", recipe, point)
        run["different"] = differences(run, reference)
        runs.append(run)
        print(f"{n}: {run}", file=sys.stderr, flush=True)
    equal = sum(not run["different"] for run in runs)
    report = {
        "undisturbed_seconds": round(seconds, 1),
        "files_compared": len(reference),
        "templated_samples": templated,
        "trained_twice_different": again,
        "killed": sum(s == "killed" for run in runs for s in run["seen"]),
        "runs": len(runs),
        "equal_to_undisturbed": equal,
        "each": runs,
    }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if equal == len(runs) and not again else 1


if __name__ == "__main__":
    sys.exit(main())
