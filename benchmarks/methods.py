"""All methods on the sandbox's worlds at equal cost: one table and one figure.

    python benchmarks/methods.py --seeds 3 --jobs 16
    python benchmarks/methods.py --worlds strict mild_0.5 --arms grpo,dapo,p2o_steady --seeds 5
    python benchmarks/methods.py --report

Each world is a comparison (``p2o compare RECIPE --budget cost=…``) in ``runs/methods/WORLD``, one thread a run; the
worlds are computed side by side and share the jobs. A cell is an arm with a seed. Finished cells are kept, so the same
command continues after a kill, and arms, worlds and seeds can be added later. ``--report`` computes nothing; table and
figure are of the cells that are finished.

The worlds differ in what the bare policy does (docs/sandbox.md): ``strict`` is the quickstart; in ``switch`` one token
decides; in ``rare`` good templates are rare; in ``mild_0.05`` and ``mild_0.5`` that many per cent of the bare rollouts
are right. The two mild policies are built when they are not there (about 25 minutes, see dose_response.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dose_response import policy_of
from p2o.analysis.compare.arms import ARMS, arms_of, given_to
from p2o.analysis.compare.command import finished
from p2o.analysis.compare.summary import ArmSummary, ranks, summarize
from p2o.base.markdown import table
from p2o.base.terminal import percent
from p2o.errors import P2OError
from p2o.runs.building import samples_of
from p2o.runs.recipe import Recipe, load_recipe

HERE = Path(__file__).parent
RESULT = HERE / "results" / "methods.json"
PAGE = HERE.parent / "docs" / "methods.md"
PICTURE = HERE.parent / "docs" / "images" / "methods.png"
ORDER = (
    "grpo", "grpo_steady", "dapo", "dapo_steady", "zvp", "knapsack", "review", "prefix", "sage", "scaf", "scaf_shape",
    "luffy", "luffy_steady", "sdft", "opsd", "hdpo", "p2o", "p2o_solved", "p2o_steady", "rare_transfer",
)  # fmt: skip
"""The arms, by what they are given. ``rare_transfer`` is the way of the recipe ``rare``, in its world alone."""
COLOURS = {"nothing": "#8a8a8a", "solutions": "#d97706"}
"""What an arm is given → its colour; all else is the colour of P²O."""


@dataclass(frozen=True)
class World:
    """A sandbox policy and its task."""

    recipe: str
    group: str | None = "hard"
    """The test samples of the headline; None: all."""
    bare: str | None = None
    """Probability of each of the four choices on the bare prompt, of a policy that is built."""
    cost: int = 600_000
    """Forward-equivalent tokens of each cell; by default what the quickstart spends on P²O in three epochs."""

    def overrides(self, policies: Path) -> list[str]:
        """Keys of the recipe that differ; the policy is built in the folder ``policies`` if it is not there."""
        return ["--model_name_or_path", str(policy_of(self.bare, policies))] if self.bare else []


WORLDS = {
    "strict": World("quickstart"),
    "switch": World("switch"),
    "rare": World("rare", group=None, cost=1_600_000),
    "mild_0.05": World("quickstart", bare="0.155"),
    "mild_0.5": World("quickstart", bare="0.275"),
}


def is_there(world: World) -> bool:
    """Whether this version has the world's recipe."""
    try:
        load_recipe(world.recipe)
    except P2OError:
        return False
    return True


def command_of(name: str, given: argparse.Namespace) -> list[str]:
    """The words behind ``p2o`` that compute a world."""
    world, jobs = WORLDS[name], -(-given.jobs // len(given.worlds))
    group = ["--group", world.group] if world.group else []
    spend = ["--seeds", str(given.seeds), "--budget", f"cost={world.cost}", "--jobs", str(jobs)]
    keys = [*world.overrides(given.policies), "--save_strategy", "no"]  # a cell is a minute: a killed one begins anew
    return ["compare", world.recipe, *keys, "--arms", given.arms, *group, *spend, "--out", str(given.folder / name)]


def compute(name: str, words: Sequence[str], folder: Path) -> str | None:
    """Computes the cells of a world that are not finished. Returns what failed, if anything did."""
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "p2o", *words], stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        )
    return f"{name}: see the end of {log}" if done.returncode else None


def summaries_of(name: str, folder: Path) -> list[ArmSummary]:
    """The finished cells of a world, by arm."""
    world, recipe = WORLDS[name], load_recipe(WORLDS[name].recipe)
    known = ARMS | {arm.name: arm for arm in arms_of(recipe, [name for name in ORDER if name in recipe.task.arms])}
    results = {arm: [run.result(world.group) for run in finished(known[arm], folder)] for arm in ORDER if arm in known}
    arms = [known[arm] for arm, rows in results.items() if rows]
    given = {arm.name: given_to(arm, recipe.training.method, recipe.task.reflector) for arm in arms}
    return summarize(arms, results, _groups(recipe), world.group, given)


def _groups(recipe: Recipe) -> dict[str, str]:
    column = recipe.training.eval_group_column
    return {s.id: str(s.columns[column]) for s in samples_of(recipe, "test")} if column else {}


def one_table(worlds: Mapping[str, Sequence[ArmSummary]]) -> str:
    """A row for each arm; for each world the success, its interval, the rank, and what is kept of the easy samples."""
    names = [arm for arm in ORDER if any(a.name == arm for arms in worlds.values() for a in arms)]
    cells: dict[tuple[str, str], str] = {}
    given: dict[str, str] = {}
    for world, arms in worlds.items():
        for arm, rank in zip(arms, ranks([a.success.interval for a in arms]), strict=True):
            given[arm.name] = arm.given
            low, high = (100 * end for end in arm.success.interval)
            easy = f"; easy {percent(arm.groups['easy'].mean)}" if "easy" in arm.groups else ""
            relied = f"; relies {100 * arm.reliance:+.0f}" if arm.reliance is not None else ""
            spent = f"{arm.cost / 1e6:.2f} M, {arm.seconds:,.0f} s"
            cells[world, arm.name] = (
                f"**{percent(arm.success.mean)}** [{low:.1f}, {high:.1f}]; rank {rank}{easy}{relied}; {spent}"
            )
    rows = [[f"`{arm}`", given[arm], *(cells.get((world, arm), "–") for world in worlds)] for arm in names]
    return table(["arm", "given", *worlds], rows)


def draw(worlds: Mapping[str, Sequence[ArmSummary]], path: Path) -> None:
    """A panel for each world, a line for each arm: success with its interval, and a ring for the easy samples."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [arm for arm in ORDER if any(a.name == arm for arms in worlds.values() for a in arms)]
    size = (2.2 + 2.1 * len(worlds), 1.3 + 0.28 * len(names))
    figure, panels = plt.subplots(1, len(worlds), figsize=size, dpi=140, sharey=True, squeeze=False)
    for axes, (world, arms) in zip(panels[0], worlds.items(), strict=True):
        for arm in arms:
            y, colour = -names.index(arm.name), COLOURS.get(arm.given, "#2563eb")
            axes.plot([100 * end for end in arm.success.interval], [y, y], color=colour, lw=2, alpha=0.5)
            axes.plot([100 * run["success"] for run in arm.runs], [y] * len(arm.runs), "|", color=colour, ms=7)
            axes.plot([100 * arm.success.mean], [y], "o", color=colour, ms=5)
            if "easy" in arm.groups:
                axes.plot([100 * arm.groups["easy"].mean], [y], "o", mfc="none", mec=colour, ms=8)
        axes.set_title(world, fontsize=10)
        axes.set_xlim(-4, 104)
        axes.set_ylim(0.6 - len(names), 0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#eeeeee")
    panels[0][0].set_yticks([-n for n in range(len(names))], names, fontsize=8)
    figure.supxlabel(
        "held-out bare success (%): dot and interval, hard samples; ring, easy ones\n"
        "grey: given nothing; orange: solutions; blue: a prompt step",
        fontsize=9,
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def compact(arm: ArmSummary) -> dict[str, Any]:
    """A summary without the outcomes of each sample."""
    content = asdict(arm)
    kept = ("seed", "success", "cost", "rollouts", "seconds", "phases", "reliance", "curve")
    content["runs"] = [{name: run[name] for name in kept} for run in content["runs"]]
    return content


def report(folder: Path) -> None:
    """Writes table, figure and figures of the finished cells, and prints the table."""
    found = {name: summaries_of(name, folder / name) for name, world in WORLDS.items() if is_there(world)}
    worlds = {name: arms for name, arms in found.items() if arms}
    if not worlds:
        print("no cell is finished")
        return
    content = {
        "command": "python benchmarks/methods.py",
        "cost": {name: WORLDS[name].cost for name in worlds},
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("p2o-rl", "torch", "transformers", "trl", "gepa")},
        "worlds": {name: [compact(arm) for arm in arms] for name, arms in worlds.items()},
    }
    RESULT.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(worlds, PICTURE)
    text = one_table(worlds)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->\n")
    after = rest.partition("<!-- /table -->")[2]
    PAGE.write_text(f"{before}<!-- table -->\n{text}\n<!-- /table -->{after}", encoding="utf-8")
    print(text)


def main() -> None:
    known = [arm for arm in ORDER if arm in ARMS]
    there = [name for name, world in WORLDS.items() if is_there(world)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", default=there, choices=there)
    parser.add_argument("--arms", default=",".join(known), help="comma-separated (default: all methods)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time, one thread each")
    parser.add_argument("--folder", type=Path, default=Path("runs/methods"))
    parser.add_argument("--policies", type=Path, default=Path("runs/worlds"), help="folder of the mild policies")
    parser.add_argument("--report", action="store_true", help="compute nothing")
    arguments = parser.parse_args()
    failed: list[str | None] = []
    if not arguments.report:
        commands = {name: command_of(name, arguments) for name in arguments.worlds}
        with ThreadPoolExecutor(min(arguments.jobs, len(commands))) as pool:
            jobs = [pool.submit(compute, name, words, arguments.folder / name) for name, words in commands.items()]
            failed = [job.result() for job in jobs]
    report(arguments.folder)
    if any(failed):
        sys.exit("not all cells were made; the same command makes them again: " + "; ".join(filter(None, failed)))


if __name__ == "__main__":
    main()
