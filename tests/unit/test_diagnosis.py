"""What is said when a run learns nothing: one case each, with its next step as a command that parses."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from p2o.analysis.findings import masked_share, run_by, run_findings, screen_findings
from p2o.base.rows import METRICS_FILE, write_rows
from p2o.core.diagnosis import Finding, diagnose
from p2o.core.evolve import ReflectionJob
from p2o.core.evolve.result import EvolveCost
from p2o.core.facts import Facts, facts_after
from p2o.core.summary import EpochSummary
from p2o.generation.policies import Completion
from p2o.generation.prompt_step import policy_reflector
from p2o.runs.reading import parse_words
from p2o.runs.run_directory import read_run
from runs import make_run

SETTINGS = {
    "distillation": "mask", "hard_min_count": 100, "evolve_budget": "heavy_4", "num_train_epochs": 5.0,
    "learning_rate": 3e-6, "max_completion_length": 512, "success_threshold": 1.0, "reflector": "self",
    "reflector_timeout": 120.0,
}  # fmt: skip
DEAD = {"groups": 512, "all_failed": 412, "all_solved": 20, "no_spread": 432}
ALIVE = {"groups": 512, "all_failed": 60, "all_solved": 60, "no_spread": 120}
EMPTY = {**DEAD, "evolved": True, "candidates": 48, "iterations": 9}

CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "solved": ({"groups": 512, "all_failed": 4, "all_solved": 488, "no_spread": 490}, "there is little left", ""),
    "teacher": (
        {**ALIVE, "reflector_calls": 48, "reflector_failed": 40, "reflector_reasons": "40× auth (HTTP 401)"},
        "the reflector failed on 40 of 48 calls: 40× auth (HTTP 401)",
        "p2o screen r.yaml",
    ),
    "empty_pool": (EMPTY, "none of 48 candidates solved a hard sample (reflector self)", "p2o screen r.yaml"),
    "few_hard": (
        {**DEAD, "hard": 12},
        "templates are evolved for 100 hard samples or more, and 12 are hard",
        "p2o train r.yaml --hard_min_count 6 --if_exists new",
    ),
    "flat": (
        {**DEAD, "evolved": True, "helping": 3},
        "432 of 512 groups have no spread of rewards (412 all failed, 20 all solved), and no template is in use",
        "p2o screen r.yaml",
    ),
    "partial": (
        {"groups": 512, "all_failed": 500, "all_solved": 0, "no_spread": 9},
        "in 500 of 512 groups no reward reaches success_threshold 1.0, although 503 of them have spread",
        "p2o train r.yaml --success_threshold 0.5 --if_exists new",
    ),
    "masked": (
        {**ALIVE, "rescued": 80, "rescued_before": True, "graduated": 2, "masked": 0.11},
        "80 samples were rescued in this epoch, and 2 have graduated so far; the ratio mask drops 11.0 %",
        "p2o train r.yaml --distillation solved --if_exists new",
    ),
    "slow": (
        {**ALIVE, "rescued": 80, "rescued_before": True, "graduated": 2, "masked": 0.01},
        "the ratio mask drops 1.0 % of the templated tokens",
        "p2o train r.yaml --num_train_epochs 10 --if_exists new",
    ),
    "forgotten": (
        {**ALIVE, "forgotten": 31},
        "31 of 512 samples are forgotten",
        "p2o train r.yaml --learning_rate 1e-06 --if_exists new",
    ),
    "cut": (
        {**ALIVE, "clipped": 0.31},
        "31.0 % of the completions are cut at their limit of 512 tokens",
        "p2o train r.yaml --max_completion_length 1024 --if_exists new",
    ),
}  # fmt: skip


def facts(**changes: Any) -> Facts:
    return Facts(settings=SETTINGS, **changes)


@pytest.mark.parametrize("method", ["grpo", "dapo", "zvp"])
def test_a_method_that_evolves_nothing_is_not_told_to_evolve_for_fewer(method: str) -> None:
    facts = Facts(**DEAD, hard=12, settings={**SETTINGS, "method": method})
    assert [finding.case for finding in diagnose(facts)] == ["flat"]


@pytest.mark.parametrize("case", CASES)
def test_each_case_says_what_happened_and_the_next_command(case: str) -> None:
    figures, happened, command = CASES[case]
    (finding,) = diagnose(facts(**figures))
    assert finding.case == case
    assert happened in finding.happened
    assert finding.command(["r.yaml"]) == command
    assert finding.is_fault == (case != "solved")
    if command.startswith("p2o train"):
        assert "if_exists" in parse_words(shlex.split(command)[3:])


def test_a_run_whose_groups_partly_all_fail_is_not_solved() -> None:
    some = {"groups": 72, "all_failed": 31, "all_solved": 32, "no_spread": 63, "candidates": 20, "iterations": 9}
    (finding,) = diagnose(facts(**some, evolved=True))
    assert (finding.case, finding.command(["r.yaml"])) == ("empty_pool", "p2o screen r.yaml")
    assert diagnose(facts(**some))[0].case == "flat"
    few = {**some, "all_failed": 7, "all_solved": 56, "evolved": True}
    assert diagnose(facts(**few))[0].case == "solved"


def test_templates_that_solve_nothing_are_named_where_other_groups_have_spread() -> None:
    end = {"groups": 72, "all_failed": 34, "all_solved": 10, "no_spread": 44, "evolved": True, "helping": 2}
    (finding,) = diagnose(facts(**end, templated_success=0.0))
    assert finding.case == "empty_pool"
    assert "(34 all failed, 10 all solved); under templates 0.0 % of the rollouts are solved" in finding.happened
    assert diagnose(facts(**end, templated_success=0.0, templated_next=34)) == []  # the next epoch will show it
    assert diagnose(facts(**end, templated_success=0.4)) == []
    assert diagnose(facts(**{**end, "all_failed": 20, "no_spread": 30}, templated_success=0.0)) == []
    last = {**end, "all_failed": 40, "all_solved": 12, "no_spread": 52}
    assert diagnose(facts(**last, templated_success=0.5)) == []  # templates are in use, and help


def test_nothing_is_wrong_where_an_evolution_waits_for_grpo() -> None:
    epoch = EpochSummary(0, groups=72, all_failed=33, all_solved=26, no_spread=59, hard=40)
    stuck = {**SETTINGS, "hard_min_count": 16, "evolve_when": "stuck"}
    assert diagnose(facts_after([epoch], stuck)) == []
    assert diagnose(facts_after([epoch], {**stuck, "evolve_when": "hard"}))[0].case == "flat"
    fewer = replace(epoch, all_failed=37, all_solved=26, no_spread=63)  # 9 of 46, and no more than before
    assert diagnose(facts_after([fewer], stuck)) == []
    assert diagnose(facts_after([fewer, fewer], stuck))[0].case == "flat"


def test_help_that_begins_to_reach_the_bare_prompt_is_not_slow() -> None:
    before = EpochSummary(1, groups=96, rescued=95, paired_bare_success=0.0)
    last = EpochSummary(2, groups=96, rescued=95, graduated=7, paired_bare_success=0.02)
    assert diagnose(facts_after([before, last], SETTINGS)) == []
    assert diagnose(facts_after([replace(before, graduated=5), last], SETTINGS))[0].case == "slow"
    seldom = replace(last, graduated=2)
    assert diagnose(facts_after([before, seldom], SETTINGS))[0].case == "slow"
    assert diagnose(facts_after([before, replace(seldom, paired_bare_success=0.08)], SETTINGS)) == []
    assert diagnose(facts_after([replace(before, rescued=0), last], SETTINGS)) == []  # no time yet


def test_a_run_that_learns_has_no_finding() -> None:
    assert diagnose(facts(**ALIVE)) == []
    healthy = {"rescued": 80, "rescued_before": True, "graduated": 40, "masked": 0.4, "forgotten": 2, "clipped": 0.01}
    assert diagnose(facts(**ALIVE, **healthy)) == []
    assert diagnose(facts(**DEAD, evolved=True, helping=3, templated_next=400)) == []  # the next epoch will show it


def test_what_was_not_measured_is_no_finding() -> None:
    assert diagnose(facts(**ALIVE, rescued=80, rescued_before=True, graduated=60)) == []
    assert diagnose(facts(groups=0, all_failed=0, all_solved=0, no_spread=0)) == []


def test_a_timeout_asks_for_time_and_a_small_budget_for_more() -> None:
    slow = facts(**ALIVE, reflector_calls=10, reflector_failed=9, reflector_reasons="9× timeout")
    assert diagnose(slow)[0].changes == {"reflector_timeout": 240.0, "reflector_concurrency": 2}
    for budget, larger in (("light", "heavy_4"), ("heavy_4", "heavy_16"), ("900", "3600")):
        short = Facts(**{**EMPTY, "iterations": 1, "candidates": 1}, settings={**SETTINGS, "evolve_budget": budget})
        assert diagnose(short)[0].changes == {"evolve_budget": larger}
        assert "none of 1 candidate solved a hard sample in 1 iteration" in diagnose(short)[0].happened


def test_no_distillation_at_all_is_named() -> None:
    none = Facts(**ALIVE, rescued=80, rescued_before=True, settings={**SETTINGS, "distillation": "none"})
    assert diagnose(none)[0].changes == {"distillation": "solved"}


def test_a_command_sets_each_key_once_and_leaves_the_old_run_alone() -> None:
    (finding,) = diagnose(facts(**CASES["masked"][0]))
    words = ["r.yaml", "--distillation", "mask", "--seed", "1", "--output_dir", "runs/old"]
    assert finding.command(words) == "p2o train r.yaml --seed 1 --distillation solved --if_exists new"


def test_what_is_forgotten_is_held_by_smaller_steps_where_they_exist() -> None:
    for scaled, key in ((False, "scale_steps"), (True, "learning_rate")):
        found = Facts(**ALIVE, forgotten=31, settings={**SETTINGS, "scale_steps": scaled})
        assert list(diagnose(found)[0].changes) == [key]


def test_a_run_from_python_gets_python() -> None:
    (finding,) = diagnose(facts(**CASES["masked"][0]))
    assert finding.command(None) == "P2OConfig(distillation='solved', …)"


def test_a_run_on_verl_gets_overrides() -> None:
    longer = Finding("slow", "", "", {"num_train_epochs": 6.0, "distillation": "solved"})
    assert longer.command("verl") == "trainer.total_epochs=6 ++p2o.distillation=solved"
    assert Finding("flat", "", "", screen=True).command("verl") == ""


def test_the_facts_of_epochs() -> None:
    cost = {"reflector_calls": 9, "reflector_failures": {"auth": 8}, "reflector_reasons": {"auth": "HTTP 401"}}
    before = EpochSummary(0, groups=10, rescued=5)
    last = EpochSummary(1, groups=10, forgotten=2, all_failed=9, no_spread=9, rescued=4, graduated=1, evolve_cost=cost)
    found = facts_after([before, last], SETTINGS, masked=0.2)
    assert (found.rescued, found.rescued_before, found.graduated, found.masked) == (4, True, 1, 0.2)
    assert found.forgotten == 2
    assert (found.reflector_calls, found.reflector_failed) == (9, 8)
    assert found.reflector_reasons == "8× auth (HTTP 401)"
    assert not facts_after([last], SETTINGS).rescued_before
    evolved = EpochSummary(0, groups=10, evolved=True, candidates=9, iterations=5)
    end = facts_after([evolved, EpochSummary(1, groups=10, all_failed=9, no_spread=9)], SETTINGS)
    assert diagnose(end)[0].case == "empty_pool"


def test_every_case_is_in_the_guide_to_troubles() -> None:
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for case in CASES:
        assert f'<a id="{case}"></a>' in page, case


def screen(pool: list[Any], **evolution: Any) -> Any:
    def share(count: int) -> Any:
        return SimpleNamespace(count=count, share=count / 50)

    outcomes = {"all_failed": share(40), "mixed": share(4), "all_solved": share(6)}
    return SimpleNamespace(
        samples=50, total=500, outcomes=outcomes, hard=share(41), no_spread=share(46), pool=pool, evolution=evolution
    )  # fmt: skip


def test_a_screen_asks_the_same_function() -> None:
    found = {"candidates": 20, "fates": {"seed": 1, "rejected": 19}, "best_dev_scores": [0.0] * 9, "stopped": "budget",
             "budget": 1000, "of_run": 900}  # fmt: skip
    (finding,) = screen_findings(screen([], **found), SETTINGS)
    assert (finding.case, finding.command(["r.yaml"])) == ("empty_pool", "")  # not: screen again
    assert "40 all failed, 6 all solved" in finding.happened
    (short,) = screen_findings(screen([], **{**found, "best_dev_scores": [0.0] * 2, "of_run": 11_256}), SETTINGS)
    assert short.command(["r.yaml", "--tau", "1"]) == "p2o screen r.yaml --tau 1 --budget 4000"
    weak = {**found, "fates": {"seed": 1, "no_fence": 12, "too_long": 3}}
    (teacher,) = screen_findings(screen([], **weak), SETTINGS)  # and not the empty pool, which follows from it
    assert teacher.happened == ("the reflector failed on 15 of 19 calls: 12× no fence, 3× too long")
    assert teacher.command(["r.yaml"]) == ""  # not the same command again
    assert screen_findings(screen([{"text": "T"}], **found), SETTINGS) == []
    few = screen_findings(screen([]), {**SETTINGS, "hard_min_count": 1000})
    assert few[0].changes == {"hard_min_count": 205}


def test_a_policy_without_room_for_the_question_is_told_to_take_another_reflector() -> None:
    ask = policy_reflector(lambda prompts: [Completion("", fits=False) for _ in prompts], context=512)
    (reply,) = ask([ReflectionJob("", [], 0, "p")])
    cost = EvolveCost(reflector_failures={reply.error or "": 48}, reflector_reasons={reply.error or "": reply.reason})
    figures = {"candidates": 48, "fates": {"seed": 1, "no_reply": 48}, "reflector_errors": cost.failures(),
               "best_dev_scores": [0.0], "stopped": "reflector", "budget": 1000, "of_run": 900}  # fmt: skip
    (finding,) = screen_findings(screen([], **figures), SETTINGS)
    assert "the model's context of 512 tokens has no room for the reflector's question" in finding.happened
    assert finding.command(["r.yaml"]) == "p2o screen r.yaml --reflector phrases"
    assert finding.command(["r.yaml", "--reflector", "self"]) == "p2o screen r.yaml --reflector phrases"


def test_the_findings_of_a_run_directory(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    assert run_findings(run) == []
    assert run_by(run) == [str(tmp_path / "run" / "config.yaml")]
    rows = [{"epoch": 2.0, "completions/clipped_ratio": 0.5, "step": 9}]
    write_rows(tmp_path / "run" / "p2o" / METRICS_FILE, rows)
    assert [finding.case for finding in run_findings(read_run(tmp_path / "run"))] == ["cut"]
    assert run_findings(read_run(make_run(tmp_path / "new", epochs=0))) == []


def test_the_share_that_the_mask_drops_by_hand() -> None:
    edges = [-2.0, -1.0, 0.0, 1.0]
    record = {"ratio_counts": {"1": [3, 2, 1, 1, 1], "2": [0, 0, 2, 0, 0]}, "ratio_log10_edges": edges}
    # Below -2 are 3 of 10, above 1 is 1.
    assert masked_share(record, {"ratio_low": 0.01, "ratio_high": 10.0}) == pytest.approx(0.4)
    assert masked_share({}, {}) is None
