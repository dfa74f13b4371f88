"""What the bookkeeping of a large run costs: seconds, peak memory, bytes on disk and between processes; no model.

    python benchmarks/scale.py                                  # 10,000 and 100,000 samples
    python benchmarks/scale.py --sizes 100000 --only report     # one measure

K 16, templates of 4,000 characters. Three epochs are gone through, with two prompt steps between; the report is of ten,
the others being copies of the last two. Each measure is a process of its own and its figures are written as
soon as it ends, to `benchmarks/results/scale.json`; what is there is kept (`--again` measures anew), so the command
continues after a kill. The rollouts are invented, at once; everything else is what a run does.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any
from zlib import crc32

from peak_memory import peak_mb

RESULT = Path(__file__).parent / "results" / "scale.json"
K, TEMPLATES, TEMPLATE_CHARS, EPOCHS, SHOWN_EPOCHS = 16, 16, 4_000, 3, 10
MOST_PROPOSALS = 400
GROUPS_A_STEP = 128
HARD = 0.5
"""Share of the samples that all fail bare in the first epoch. Under a template one rollout in four is solved."""
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jane", "Kai", "Lea", "Max", "Nora", "Otto")
VERBS = (
    "buys",
    "sells",
    "paints",
    "packs",
    "counts",
    "carries",
    "folds",
    "bakes",
    "loads",
    "mixes",
    "orders",
    "plants",
)


@cache
def words() -> list[str]:
    rng = random.Random(7)
    return ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(3, 9))) for _ in range(6_000)]


def question(rng: random.Random) -> tuple[str, str]:
    """A word problem of about 350 characters, and its answer."""
    a, b, c = (rng.randint(2, 999) for _ in range(3))
    things = rng.sample(words(), 24)
    text = (
        f"{rng.choice(NAMES)} {rng.choice(VERBS)} {a} {things[0]} near the {' '.join(things[1:8])}. "
        f"{rng.choice(NAMES)} {rng.choice(VERBS)} {b} more, and each {things[8]} holds {c} {' '.join(things[9:17])}. "
        f"How many {' '.join(things[17:])} are there at the end? Give the answer as one number."
    )
    return text, str((a + b) * c)


def template(number: int) -> str:
    """Instructions of `TEMPLATE_CHARS` characters."""
    rng = random.Random(1_000 + number)
    text = f"Way {number}. Read the task twice, and write every step on a line of its own. "
    while len(text) < TEMPLATE_CHARS:
        text += " ".join(rng.choices(words(), k=9)) + ", then check it. "
    return text[:TEMPLATE_CHARS]


@contextmanager
def timed(into: dict[str, Any], name: str) -> Iterator[None]:
    """Adds wall-clock and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    into[name] = round(into.get(name, 0.0) + time.perf_counter() - wall, 2)
    into[f"{name}_cpu"] = round(into.get(f"{name}_cpu", 0.0) + time.process_time() - cpu, 2)


def samples_of(size: int) -> dict[str, Any]:
    from p2o.core.samples import Sample
    from p2o.data import stable_id

    rng, found = random.Random(0), {}
    while len(found) < size:
        text, answer = question(rng)
        messages = ({"role": "user", "content": text},)
        sample_id = stable_id(messages, [answer])
        found[sample_id] = Sample(sample_id, messages, answer)
    return found


def write_data(size: int, path: Path) -> None:
    rng = random.Random(0)
    with path.open("w") as file:
        for _ in range(size):
            text, answer = question(rng)
            file.write(json.dumps({"prompt": text, "answer": answer}) + "\n")


class Invented:
    """A run without a model: which rollouts are solved follows from the sample and the epoch."""

    def __init__(self, size: int, folder: Path) -> None:
        from p2o.core.loop import JointLoop
        from p2o.core.rollout_log import RolloutLog
        from p2o.core.settings import LoopSettings

        self.samples = samples_of(size)
        settings = LoopSettings(evolve_budget="4000", hard_min_count=2, withdrawal="graduated", bare_slots=1)
        self.loop = JointLoop(settings, self.samples, folder / "p2o", K, 0)
        self.log = RolloutLog(folder / "p2o")
        self.steps: list[dict[str, float]] = []
        self.level = {i: int(i, 16) % 1000 / 1000 for i in self.samples}
        self.proposals = cycle(template(n) for n in range(MOST_PROPOSALS))

    def epoch(self, number: int) -> None:
        """Records all groups of an epoch, as the trainer does."""
        from p2o.core.rollout_log import LoggedRollout

        rng = random.Random(number)
        for i, sample in self.samples.items():
            slots = [self.loop.template(i, slot) for slot in range(K)]
            bare = max(0.0, self.level[i] - HARD + 0.04 * number) / HARD
            solved = [rng.random() < (0.25 if text else bare) for text in slots]
            self.loop.record(i, [float(s) for s in solved], [bool(t) for t in slots])
            if i in self.loop.needed or not any(solved):
                rows = [
                    LoggedRollout(t, "A short completion.", float(s), s) for t, s in zip(slots, solved, strict=True)
                ]
                self.log.add_group(i, sample.question, sample.answer, rows)
        self.log.write()
        steps = len(self.samples) // GROUPS_A_STEP
        row = {
            "reward": 0.3,
            "p2o/bare_success": 0.3,
            "p2o/all_failed": 0.5,
            "p2o/all_solved": 0.1,
            "p2o/no_spread": 0.6,
        }
        self.steps += [{"epoch": number + n / steps, **row} for n in range(steps)]

    def roll_out(self, pairs: Sequence[tuple[str, Any]]) -> list[Any]:
        from p2o.core.samples import Rollout

        solved = [bool(text) and crc32(f"{text[:9]}{s.id}".encode()) % 4 == 0 for text, s in pairs]
        return [Rollout("A completion.", float(s), s, "", 100, 10) for s in solved]

    def reflect(self, jobs: Sequence[Any]) -> list[Any]:
        from p2o.core.evolve import Reply

        return [Reply(f"```\n{next(self.proposals)}\n```", None, 10, 10) for _ in jobs]


def epochs(size: int, folder: Path) -> dict[str, Any]:
    """Epochs: recording, prompt steps, checkpoints, what rank 0 sends."""
    import p2o.core.evolve.pipeline  # noqa: F401 (it loads gepa, once in a run)
    from p2o.base.rows import METRICS_FILE, write_rows
    from p2o.core.methods import PromptTools
    from p2o.data.fingerprint import fingerprint
    from p2o.trl.state import CheckpointState

    out: dict[str, Any] = {}
    shutil.rmtree(folder / "p2o", ignore_errors=True)
    with timed(out, "samples_s"):
        run = Invented(size, folder)
    out["start_mb"] = round(peak_mb())
    steps, sent = [], []
    for number in range(EPOCHS):
        with timed(out, "record_s"):
            run.epoch(number)
            run.log.begin(number + 1)
        if number == EPOCHS - 1:
            break
        step: dict[str, Any] = {}
        with timed(step, "s"):
            summary = run.loop.prompt_step(PromptTools(run.roll_out, run.reflect))
            packet = pickle.dumps((summary, run.loop.state_dict()))
            run.loop.load_state_dict(pickle.loads(packet)[1])
        steps.append({**step, "hard": summary.hard, "templated_next": summary.templated_next, "pool": summary.pool})
        sent.append(len(packet))
    with timed(out, "close_s"):
        run.loop.close()
    write_rows(folder / "p2o" / METRICS_FILE, run.steps)
    with timed(out, "fingerprint_s"):
        data = fingerprint(list(run.samples.values()))
    state = CheckpointState(run.loop.state_dict(), {}, data, 0, 0, {})
    with timed(out, "state_write_s"):
        state.save(folder / "checkpoint-1")
    (state_file,) = (folder / "checkpoint-1").glob("*.json")
    with timed(out, "state_read_s"):
        run.loop.load_state_dict(json.loads(state_file.read_text())["loop"])
    files = sorted((folder / "p2o").glob("epoch-*.json"))
    return {
        **out,
        "prompt_steps": steps,
        "prompt_step_s": max(step["s"] for step in steps),
        "prompt_step_s_cpu": max(step["s_cpu"] for step in steps),
        "sent_mb": mb(max(sent)),
        "state_mb": mb(state_file.stat().st_size),
        "epoch_file_mb": mb(max(f.stat().st_size for f in files)),
        "run_mb": mb(sum(f.stat().st_size for f in (folder / "p2o").rglob("*") if f.is_file())),
        "peak_mb": round(peak_mb()),
    }


def lengthen(folder: Path) -> None:
    """Copies of the last two epochs and of the last evolution, up to `SHOWN_EPOCHS`."""
    for number in range(EPOCHS, SHOWN_EPOCHS):
        before = number - 2
        for name in ("epoch", "rollouts"):
            text = (folder / f"{name}-{before:03d}.json").read_text()
            (folder / f"{name}-{number:03d}.json").write_text(
                text.replace(f'"epoch": {before}', f'"epoch": {number}', 1)
            )
        shutil.copytree(folder / f"evolution-{before:03d}", folder / f"evolution-{number:03d}", dirs_exist_ok=True)


def mb(size: int) -> float:
    return round(size / 1e6, 2)


def report(size: int, folder: Path) -> dict[str, Any]:
    """The report of the run that `epochs` left."""
    from p2o.analysis.report import write_report

    out: dict[str, Any] = {}
    lengthen(folder / "p2o")
    with timed(out, "s"):
        page = write_report([folder])
    return {**out, "page_mb": mb(page.stat().st_size), "peak_mb": round(peak_mb())}


def command(out: dict[str, Any], *arguments: str) -> None:
    """Runs a command of ours; its seconds and its peak memory."""
    script = "import sys, p2o.cli.main as m, peak_memory; code = m.main(sys.argv[1:]); " \
             "print(f'PEAK {peak_memory.peak_mb():.0f}', file=sys.stderr); sys.exit(code)"  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with timed(out, "s"):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=Path(__file__).parent,
            check=True,
            capture_output=True,
            text=True,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    out["s_cpu"] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)
    out["peak_mb"] = int(done.stderr.rpartition("PEAK ")[2])


def dry_run(size: int, folder: Path) -> dict[str, Any]:
    """``p2o train --dry-run`` on a file of so many rows, the whole command."""
    out: dict[str, Any] = {}
    write_data(size, folder / "rows.jsonl")
    command(out, "train", "quickstart", "--train", str(folder / "rows.jsonl"), "--dry-run")
    return out


def load(size: int, folder: Path) -> dict[str, Any]:
    """What training does with the rows before the first step: samples, TRL's data set, ids, fingerprint."""
    from p2o.data import load_samples, to_dataset
    from p2o.data.fingerprint import fingerprint
    from p2o.trl.rows import training_rows

    out: dict[str, Any] = {}
    write_data(size, folder / "rows.jsonl")
    with timed(out, "samples_s"):
        samples = load_samples(str(folder / "rows.jsonl"))
    with timed(out, "dataset_s"):
        dataset = to_dataset(samples)
    with timed(out, "rows_s"):
        rows = training_rows(dataset)
    with timed(out, "fingerprint_s"):
        fingerprint(list(rows.samples.values()))
    return {**out, "peak_mb": round(peak_mb())}


def leak(size: int, folder: Path) -> dict[str, Any]:
    """The leak guard of a hard set of so many samples: built, and asked about 16 templates; then every pair."""
    from p2o.core.evolve import LeakGuard, leaks_answer

    out: dict[str, Any] = {}
    samples = list(samples_of(size).values())
    templates = [template(n) for n in range(TEMPLATES)]
    with timed(out, "built_s"):
        guard = LeakGuard(samples)
    with timed(out, "templates_s"):
        refused = sum(guard.refuse(text) is not None for text in templates)
    with timed(out, "pairs_s"):
        leaking = sum(leaks_answer(text, s) for text in templates for s in samples)
    return {**out, "refused": refused, "leaking_pairs": leaking, "peak_mb": round(peak_mb())}


def figures(size: int, folder: Path) -> dict[str, Any]:
    """The figures of ``p2o eval`` (16 draws, bare) and of ``p2o compare`` (2 arms, 3 seeds) on so many samples."""
    from p2o.analysis.evaluation import best_slots, evaluate_policy
    from p2o.analysis.statistics import mean_success, paired_difference
    from p2o.core.samples import Rollout
    from p2o.core.templates import PoolTemplate

    out: dict[str, Any] = {}
    samples = list(samples_of(size).values())
    pool = [PoolTemplate(template(n), 0.5, frozenset()) for n in range(TEMPLATES)]

    def roll_out(pairs: Sequence[tuple[str, Any]]) -> list[Rollout]:
        rng = random.Random(0)
        return [Rollout("A completion.", 0.0, rng.random() < int(s.id, 16) % 100 / 100, "", 9, 9) for _, s in pairs]

    with timed(out, "slots_s"):
        slots = best_slots(samples, pool, K, 0)
    with timed(out, "eval_s"):
        bare = evaluate_policy(roll_out, samples, K, 1.0, slots)
    rng = random.Random(0)
    arms = [{seed: {i: float(rng.random() < v) for i, v in bare.per_sample.items()} for seed in range(3)} for _ in "ab"]
    with timed(out, "compare_s"):
        for arm in arms:
            mean_success(arm)
        paired_difference(*arms)
    return {**out, "peak_mb": round(peak_mb())}


MEASURES: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    "epochs": epochs, "report": report, "dry_run": dry_run, "load": load, "leak": leak, "figures": figures,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "p2o-scale")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--again", action="store_true", help="measure what was measured before too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        (size,) = options.sizes
        print(json.dumps(MEASURES[options.one](size, options.folder)))
        return
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for size in options.sizes:
        for name in options.only:
            if name in found.get(str(size), {}) and not options.again:
                continue
            folder = options.folder / str(size)
            folder.mkdir(parents=True, exist_ok=True)
            line = [sys.executable, __file__, "--one", name, "--sizes", str(size), "--folder", str(folder)]
            done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
            found.setdefault(str(size), {})[name] = json.loads(done.stdout.splitlines()[-1])
            options.out.write_text(json.dumps(found, indent=1) + "\n")
            print(size, name, found[str(size)][name], flush=True)


if __name__ == "__main__":
    main()
