"""Evolution beside training: what the method does at a prompt step, and the second process as the training sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import other_process
from p2o.core.cost import CostMeter
from p2o.core.diagnosis import diagnose
from p2o.core.evolve import Evolution, Reply
from p2o.core.evolve.result import Candidate, EvolveCost
from p2o.core.facts import facts_after
from p2o.core.loop import JointLoop
from p2o.core.methods import PromptTools, Task
from p2o.core.methods.beside import NOTE
from p2o.core.samples import Rollout, Sample
from p2o.core.settings import LoopSettings
from p2o.core.summary import EpochSummary
from p2o.errors import ConfigError, P2OError, StateError
from p2o.generation.prompt_step import counted_tools, run_prompt_step
from p2o.reflectors.control_tokens import ControlGuard
from p2o.runs import second_process
from p2o.runs.plan import make_plan
from p2o.runs.recipe import load_recipe
from p2o.runs.second_process import SecondProcess
from p2o.trl.beside import Beside, check_beside
from p2o.verl.settings import VerlSettings

K = 4
HARD = 12


# --- the method ------------------------------------------------------------------------------------------------------


@dataclass
class Elsewhere:
    """Evolves at once: one template, named after its prompt step, that solves the whole dev part."""

    epochs: int = 9
    begun: list[Task] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)

    def begin(self, task: Task) -> bool:
        if task.number < self.epochs:
            self.begun.append(task)
        return task.number < self.epochs

    def result(self, number: int) -> Evolution:
        self.taken.append(number)
        task = next(t for t in reversed(self.begun) if t.number == number)
        dev, text = list(task.hard[:4]), f"Think {number}."
        return Evolution(
            candidates=[Candidate(0, "", None, 0, "seed"), Candidate(1, text, 0, 1, "accepted", dev_mean=1.0)],
            templates=["", text],
            parents=[None, 0],
            scores_CV=[[0.0] * 4, [1.0] * 4],
            solved_CV=[[False] * 4, [True] * 4],
            dev_ids=dev,
            train_ids=list(task.hard[4:]),
            budget=50,
            cost=EvolveCost(metric_calls=20, prompt_tokens=300, completion_tokens=100, reflector_prompt_tokens=50),
            best_scores=[0.0, 1.0],
            stopped="solved",
            warnings=[f"a warning of {number}"],
        )


def made_loop(folder: Path, **changes: Any) -> JointLoop:
    samples = [Sample(f"s{n:02d}", [{"role": "user", "content": f"What is {n}?"}]) for n in range(HARD + 4)]
    settings = LoopSettings(hard_min_count=8, dev_size=4, bare_slots=0, evolve_budget="60", **changes)
    return JointLoop(settings, {s.id: s for s in samples}, folder, group_size=K, seed=1)


def step(loop: JointLoop, elsewhere: Elsewhere | None, hard: int = HARD, solved: int = 0) -> EpochSummary:
    """An epoch in which the first ``hard`` samples have ``solved`` successes, the others all, and its prompt step."""
    for n, sample_id in enumerate(loop.samples):
        wins = solved if n < hard else K
        loop.record(sample_id, [1.0] * wins + [0.0] * (K - wins), [bool(loop.template(sample_id, s)) for s in range(K)])
    tools = PromptTools(
        lambda pairs: [Rollout("", float(bool(t)), bool(t)) for t, _ in pairs],
        lambda jobs: [Reply("```\nThink now.\n```") for _ in jobs],
        elsewhere=elsewhere,
    )
    return loop.prompt_step(tools)


def test_a_pool_is_used_one_epoch_later_by_the_samples_that_are_hard_then(tmp_path: Path) -> None:
    loop, elsewhere = made_loop(tmp_path), Elsewhere()
    first = step(loop, elsewhere)
    assert not first.evolved
    assert first.notes == [NOTE]
    assert loop.assignment == {}
    assert [(t.number, sorted(t.hard), list(t.pool)) for t in elsewhere.begun] == [
        (2, [f"s{n:02d}" for n in range(HARD)], [])
    ]
    assert elsewhere.taken == []

    second = step(loop, elsewhere, hard=HARD - 2)
    assert elsewhere.taken == [2]
    assert second.evolved
    assert second.pool == 1
    assert second.best_template == "Think 2."
    assert second.notes == ["a warning of 2", NOTE]
    assert loop.assignment == {f"s{n:02d}": ["Think 2."] * K for n in range(HARD - 2)}
    assert elsewhere.begun[1].number == 3
    assert sorted(elsewhere.begun[1].hard) == [f"s{n:02d}" for n in range(HARD - 2)]
    assert list(elsewhere.begun[1].pool) == ["Think 2."]  # a warm start begins with the newest pool


def test_what_an_evolution_was_begun_for_is_in_the_state(tmp_path: Path) -> None:
    loop, elsewhere = made_loop(tmp_path / "a"), Elsewhere()
    step(loop, elsewhere)
    continued = made_loop(tmp_path / "b")
    continued.load_state_dict(json.loads(json.dumps(loop.state_dict())))
    for one in (loop, continued):
        assert step(one, elsewhere, hard=9).evolved
    assert continued.state_dict() == loop.state_dict()
    assert elsewhere.begun[1] == elsewhere.begun[2]


def test_none_is_begun_that_no_epoch_could_use(tmp_path: Path) -> None:
    loop, elsewhere = made_loop(tmp_path), Elsewhere(epochs=3)  # prompt steps 1 and 2
    step(loop, elsewhere)
    last = step(loop, elsewhere)
    assert last.evolved
    assert NOTE not in last.notes
    assert [t.number for t in elsewhere.begun] == [2]
    assert "begun" not in loop.state_dict()["method"]


def test_an_evolution_is_used_even_if_too_few_samples_are_hard_for_a_new_one(tmp_path: Path) -> None:
    loop, elsewhere = made_loop(tmp_path), Elsewhere()
    step(loop, elsewhere)
    for n, sample_id in enumerate(loop.samples):
        loop.record(sample_id, [float(n >= 3)] * K, [False] * K)
    assert loop.rolls_out_next()  # it may have to wait: a checkpoint comes first
    loop.ledger.clear()
    second = step(loop, elsewhere, hard=3)
    assert second.evolved
    assert loop.assignment == {f"s0{n}": ["Think 2."] * K for n in range(3)}
    assert "no evolution: hard samples 3, fewer than hard_min_count 8" in second.notes
    assert len(elsewhere.begun) == 1
    third = step(loop, elsewhere, hard=3)
    assert not third.evolved
    assert elsewhere.taken == [2]


@pytest.mark.parametrize("worth", ["success", "transfer"])
@pytest.mark.parametrize("withdrawal", ["solved", "graduated", "smoothed"])
def test_it_goes_with_the_other_settings(withdrawal: str, worth: str, tmp_path: Path) -> None:
    loop = made_loop(tmp_path, withdrawal=withdrawal, template_worth=worth, warm_start=True)
    loop.settings.bare_slots = 1
    elsewhere = Elsewhere()
    assert not step(loop, elsewhere).evolved
    assert loop.assignment == {}
    assert step(loop, elsewhere).evolved
    assert len(loop.assignment) == HARD


def test_while_one_runs_grpo_is_not_left_alone_again(tmp_path: Path) -> None:
    loop, elsewhere = made_loop(tmp_path, evolve_when="stuck"), Elsewhere()
    step(loop, elsewhere, solved=0)
    assert [t.number for t in elsewhere.begun] == [2]
    loop.settings.tau = 3
    second = step(loop, elsewhere, solved=2)  # all of the hard groups are mixed now
    assert second.evolved
    assert [t.number for t in elsewhere.begun] == [2, 3]
    assert not any("no evolution yet" in note for note in second.notes)


def test_nothing_is_said_against_templates_that_are_still_to_come(tmp_path: Path) -> None:
    summary = step(made_loop(tmp_path), Elsewhere())
    assert summary.begun
    assert diagnose(facts_after([summary], {})) == []
    summary.begun = False
    assert [finding.case for finding in diagnose(facts_after([summary], {}))] == ["flat"]


def test_without_it_the_state_is_what_it_was(tmp_path: Path) -> None:
    loop = made_loop(tmp_path)
    assert step(loop, None).evolved
    assert set(loop.state_dict()["method"]) >= {"pool", "live", "help"}
    assert "begun" not in loop.state_dict()["method"]
    assert (tmp_path / "evolution-001").is_dir()


def test_its_cost_is_counted_when_it_is_taken_in(tmp_path: Path) -> None:
    loop, cost = made_loop(tmp_path), CostMeter()
    inner = Elsewhere()
    process = SimpleNamespace(
        begin=lambda task, save: inner.begin(task),
        result=lambda number, check: (inner.result(number), {"evolve": 5.0, "reflect": 2.0}),
    )
    elsewhere = Beside(process, lambda folder: None, 9, cost, lambda: None)

    def prompt_step(on_policy: bool) -> EpochSummary:
        for sample_id in loop.samples:
            loop.record(sample_id, [0.0] * K, [bool(loop.template(sample_id, s)) for s in range(K)])
        control, nobody = ControlGuard(None), lambda _: pytest.fail("nothing is drawn here")
        tools = counted_tools(nobody, nobody, cost, control=control, on_policy=on_policy, elsewhere=elsewhere)
        return run_prompt_step(loop, tools, cost, on_policy)

    prompt_step(on_policy=False)
    assert cost.total.rollouts == cost.total.seconds == 0
    prompt_step(on_policy=False)
    evolve, reflect = cost["evolve"], cost["reflect"]
    assert (evolve.rollouts, evolve.prompt_tokens, evolve.generated_tokens, evolve.seconds) == (20, 300, 100, 5.0)
    assert (reflect.teacher_tokens, reflect.prompt_tokens, reflect.seconds) == (50, 0, 2.0)
    prompt_step(on_policy=True)
    assert (evolve.rollouts, reflect.teacher_tokens, reflect.prompt_tokens) == (40, 50, 50)


# --- the second process ----------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SecondProcess]:
    monkeypatch.setattr(second_process, "PROGRAM", "other_process")
    monkeypatch.setenv("PYTHONPATH", str(Path(other_process.__file__).parent))

    def make(*words: str) -> SecondProcess:
        return SecondProcess(
            load_recipe("quickstart", ["--evolve_beside=true", f"--output_dir={tmp_path / 'run'}", *words])
        )

    return make


def begin(process: SecondProcess, how: str = "", number: int = 2) -> Path:
    def save(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text("weights")

    process.begin(Task(number, ["s0", "s1"], [how] if how else []), save)
    return process.own / f"beside-{number:03d}"


def test_a_result_is_taken_in_and_the_weights_are_removed(made: Callable[..., SecondProcess]) -> None:
    process, looks = made(), []
    with process.running(resumed=False):
        folder = begin(process)
        assert (folder / "weights" / "model.safetensors").exists()
        evolution, seconds = process.result(2, lambda: looks.append(1))
        assert evolution.templates == ["Think."]
        assert seconds == {"evolve": 2.0, "reflect": 1.0}
        assert looks
        assert not (folder / "weights").exists()
        assert json.loads((folder / "task.json").read_text())["hard"] == ["s0", "s1"]
    # a run that is resumed from before this prompt step finds it, and starts nothing
    again = made()
    with again.running(resumed=True):
        assert again.process is None
        assert again.result(2, lambda: pytest.fail("it need not wait"))[0].templates == ["Think."]


def test_an_unfinished_one_continues_when_a_run_is_resumed(made: Callable[..., SecondProcess]) -> None:
    first = made()
    with first.running(resumed=False):
        folder = begin(first, "silent")
    assert (folder / "weights").exists()
    task = folder / "task.json"
    task.write_text(task.read_text().replace("silent", ""))
    second = made()
    with second.running(resumed=True):
        assert second.number == 2
        assert second.result(2, lambda: None)[0].templates == ["Think."]
    fresh = made()
    (folder / "done.json").unlink()
    with fresh.running(resumed=False):  # what an earlier run left in the folder is not this one's
        assert fresh.process is None


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("failing", "the data has moved; put it back"),
        ("crash", "the second process was ended by SIGABRT (is the memory used up?)"),
    ],
)
def test_a_process_that_fails_says_why(how: str, reason: str, made: Callable[..., SecondProcess]) -> None:
    process = made()
    with process.running(resumed=False):
        folder = begin(process, how)
        with pytest.raises(StateError) as error:
            process.result(2, lambda: None)
    assert str(error.value) == f"the evolution beside training failed: {reason} (see {folder / 'log.txt'})"
    assert (folder / "weights").exists()  # the run can be resumed


def test_a_silent_process_is_given_up(made: Callable[..., SecondProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_process, "SILENCE", 0.6)
    process = made()
    with process.running(resumed=False):
        begin(process, "silent")
        with pytest.raises(StateError, match="has made no rollout and no reply for"):
            process.result(2, lambda: None)


def test_it_does_not_outlive_the_training(made: Callable[..., SecondProcess]) -> None:
    def stop() -> None:
        raise StateError("stopped")

    process = made()
    with process.running(resumed=False):
        begin(process, "silent")
        assert process.process is not None
        pid = process.process.pid
        with pytest.raises(StateError, match="stopped"):
            process.result(2, stop)
    assert not psutil.pid_exists(pid)


def test_a_lost_folder_is_one_sentence(made: Callable[..., SecondProcess]) -> None:
    with pytest.raises(StateError, match="has lost the evolution beside training; continue from an older checkpoint"):
        made().result(5, lambda: None)


def test_what_the_second_process_is_given(made: Callable[..., SecondProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://user:hunter22@server/v1"
    process = made("--reflector=openai", "--reflector_model=m", f"--reflector_base_url={url}")
    with process.running(resumed=False):
        folder = begin(process)
        process.result(2, lambda: None)
    seen: Mapping[str, Any] = json.loads((folder / "seen.json").read_text())
    assert f"--reflector_base_url={url}" in seen["words"]
    assert "hunter22" not in (folder / "recipe.yaml").read_text()  # no secret is written
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == ""  # use_cpu holds for it too
    recipe = load_recipe(str(folder / "recipe.yaml"), seen["words"])
    assert recipe.task.reflector_base_url == url
    assert recipe.training.evolve_beside
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "ACCELERATE_USE_FSDP"):
        monkeypatch.setenv(name, "1")  # it is none of the training's processes
    assert not any(name.startswith(second_process.LAUNCHER) for name in SecondProcess(recipe).environment)


def test_the_batch_of_all_processes_is_one_processs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = load_recipe("quickstart", [f"--output_dir={tmp_path}"])
    monkeypatch.setattr(type(recipe.training), "world_size", 2)
    assert "--per_device_train_batch_size=48" in SecondProcess(recipe).words


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(**changes: Any) -> str:
    given = {"process": object(), "held_elsewhere": False, "chats": True, **changes}
    with pytest.raises(ConfigError) as error:
        check_beside(SimpleNamespace(evolve_beside=True), **given)  # type: ignore[arg-type]
    return str(error.value)


def test_what_cannot_be_done_is_refused_at_the_start(tmp_path: Path) -> None:
    check_beside(SimpleNamespace(evolve_beside=False), None, True, False)  # type: ignore[arg-type]
    assert "train with p2o train, or set evolve_beside to False" in refused(process=None)
    assert "not with FSDP or DeepSpeed" in refused(held_elsewhere=True)
    assert "set chat_template_path" in refused(chats=False)
    with pytest.raises(ConfigError, match=r"p2o\.evolve_beside=true: verl's engines draw rollouts for the training"):
        VerlSettings(num_generations=K, evolve_beside=True)
    words = ["--evolve_beside=true", f"--output_dir={tmp_path}"]
    with pytest.raises(P2OError, match="policy_base_url names a served policy"):
        SecondProcess(load_recipe("quickstart", [*words, "--policy_base_url=http://x/v1"]))
    with pytest.raises(ConfigError, match="evolve_device is '1', the GPU of evolve_beside's second process"):
        load_recipe("quickstart", [*words, "--evolve_device=1"])


def test_a_plan_counts_the_evolutions_that_can_be_used() -> None:
    words = ["--evolve_beside=true", "--num_train_epochs=3"]
    for more, count in ((["--evolve_beside=false"], 2), ([], 1)):
        steps = make_plan(load_recipe("quickstart", [*words, *more])).prompt_steps
        assert steps is not None
        assert steps.count == count
    short = make_plan(load_recipe("quickstart", [*words, "--num_train_epochs=2"]))
    assert short.prompt_steps is None
    assert any(note.startswith("nothing is ever evolved: with evolve_beside") for note in short.notes)
