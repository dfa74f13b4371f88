"""The report: what it reads, how it counts, and that nothing in it can act."""

import json
import re
from html.parser import HTMLParser

import pytest
import torch

from p2o.analysis.report import write_report
from p2o.analysis.report.payload import MAX_TEMPLATE_CHARS, payload
from p2o.analysis.report.states import by_story, matrix
from p2o.analysis.report.story import headline, story
from p2o.analysis.report.tree import layout
from p2o.base.files import read_json, write_json
from p2o.base.rows import METRICS_FILE, write_rows
from p2o.base.text import clean_text
from p2o.core.evolve.result import Candidate
from p2o.core.rollout_log import LOG10_EDGES, LoggedRollout, RolloutLog, count_ratios
from p2o.core.stored import SCHEMA
from p2o.errors import StateError
from p2o.runs.run_directory import read_run
from runs import EVIL, make_run, template


def test_matrix_of_a_run(tmp_path):
    rows = matrix(read_run(make_run(tmp_path)).epochs)
    assert rows == {
        "dies": ["all_failed", "not_rescued"],
        "learns": ["all_failed", "graduated"],
        "leans": ["all_failed", "rescued"],
        "easy": ["mastered", "mastered"],
    }
    assert by_story(rows) == ["easy", "learns", "leans", "dies"]


def candidates(parents):
    return [
        Candidate(i, f"t{i}", parent, iteration, fate, dev_mean=0.5 if fate in ("seed", "accepted") else None)
        for i, (parent, iteration, fate) in enumerate(parents)
    ]


def test_tree_keeps_everything_apart():
    rows = [(None, 0, "seed"), (None, 0, "seed")]
    rows += [(0, 1, "rejected")] * 7 + [(0, 1, "accepted"), (1, 1, "leak"), (9, 2, "accepted"), (9, 2, "duplicate")]
    rows += [(11, 3, "rejected")] * 12 + [(0, 3, "accepted")]
    tree = layout(candidates(rows))
    assert len(tree.nodes) == 5
    assert len(tree.nodes) + len(tree.dots) == len(rows)
    places = [(n.x, n.y, 14.0) for n in tree.nodes] + [(d.x, d.y, 4.0) for d in tree.dots]
    for i, (x, y, r) in enumerate(places):
        assert r <= x <= tree.width - r
        assert r <= y <= tree.height - r
        for other_x, other_y, other_r in places[:i]:
            assert (x - other_x) ** 2 + (y - other_y) ** 2 > (r + other_r) ** 2
    assert {n.id: n.children for n in tree.nodes}[0] == 9


def test_page_stands_alone_and_nothing_in_it_acts(tmp_path):
    run = make_run(tmp_path)
    page = write_report([run]).read_text(encoding="utf-8")
    assert page.count("<script") == 2
    assert EVIL not in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert "@import" not in page
    assert "Content-Security-Policy" in page
    assert not re.search(r"url\((?!#)", page)
    assert "3 of the 4 samples failed in every rollout of at least one epoch" in page


def test_page_of_a_run_that_has_hardly_begun(tmp_path):
    run = make_run(tmp_path, epochs=0)
    assert write_report([run]).exists()
    (run / "p2o" / METRICS_FILE).unlink()
    (run / "p2o" / "cost.json").unlink()
    assert write_report([run], tmp_path / "elsewhere" / "r.html").exists()


def test_a_loss_is_said_as_loudly_as_a_gain(tmp_path):
    run = make_run(tmp_path)
    ids = [f"e{n}" for n in range(40)]
    write_json(
        run / "p2o" / "result.json",
        {
            "before": {"test_bare_success": 0.195, "test_bare_success_easy": 0.975, "test_bare_success_hard": 0.0},
            "after": {"test_bare_success": 0.955, "test_bare_success_easy": 0.825, "test_bare_success_hard": 0.988},
            "outcomes_before": {"test": {i: n > 0 for n, i in enumerate(ids)}},
            "outcomes": {"test": {i: n > 6 for n, i in enumerate(ids)}},
            "groups": {"test": dict.fromkeys(ids, "easy")},
        },
    )
    found = read_run(run)
    rows = matrix(found.epochs)
    whole, easy = headline(found, rows)[:2]
    assert (whole.label, whole.value, whole.tone) == ("bare success (test)", "95.5 %", "good")
    assert (easy.label, easy.value, easy.tone) == ("bare success (test, easy)", "82.5 %", "bad")
    assert "97.5 % before: -15.0 points [-2" in easy.note
    assert "0 of 40 samples gained, 6 lost" in easy.note
    said = story(found, rows)
    assert "Bare success on the test data rose from 19.5 % to 95.5 %" in said
    assert "Bare success on the easy samples of the test data fell from 97.5 % to 82.5 % (-15.0 points [-2" in said


def test_a_loss_during_training_is_said_before_the_run_is_finished(tmp_path):
    run = make_run(tmp_path)
    log = [{"epoch": e, "eval_bare_success": 0.2 + e / 4, "eval_bare_success_easy": 1 - e / 4} for e in range(3)]
    write_rows(run / "p2o" / METRICS_FILE, log)
    found = read_run(run)
    assert "easy samples of the evaluation data fell from 100.0 % to 50.0 %" in story(found, matrix(found.epochs))


def test_forgotten_samples_are_in_the_headline(tmp_path):
    run = make_run(tmp_path)
    file = run / "p2o" / "epoch-001.json"
    epoch = read_json(file, SCHEMA)
    epoch["tallies"]["easy"] = [6, 0, 0, 0, False]
    write_json(file, epoch, SCHEMA)
    found = read_run(run)
    figure = next(f for f in headline(found, matrix(found.epochs)) if f.label == "forgotten")
    assert (figure.value, figure.tone) == ("1", "bad")
    assert "1 sample was forgotten: mastered in one epoch" in story(found, matrix(found.epochs))


def test_several_runs_side_by_side(tmp_path):
    runs = [make_run(tmp_path / "one" / "run"), make_run(tmp_path / "two" / "run", epochs=0)]
    path = write_report(runs)
    assert path == runs[0] / "comparison.html"
    assert not (runs[0] / "report.html").exists()  # a comparison never replaces a run's own report
    page = path.read_text(encoding="utf-8")
    assert all(f">{run.parent.name}/{run.name}</a>" in page for run in runs)
    assert "Comparison" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)


def test_no_run_is_told(tmp_path):
    with pytest.raises(StateError, match="no run in"):
        write_report([tmp_path])


def test_page_holds_as_many_rollouts_as_fit(tmp_path):
    run = read_run(make_run(tmp_path))
    whole, small = payload(run, 10**6), payload(run, 10)
    assert {whole["rows"][row][0] for row in whole["samples"]} == {"dies", "learns", "leans"}
    assert small["samples"] == {}
    assert small["rows"] == whole["rows"]


def log_group(log, sample_id, completion="c", template=""):
    log.add_group(sample_id, "question", "1", [LoggedRollout(template, completion, 0.0, False)] * 2)


def test_the_rollout_log_is_bounded_and_keeps_the_same_samples(tmp_path):
    one, two = RolloutLog(tmp_path, max_samples=5), RolloutLog(tmp_path, max_samples=5)
    for i in range(20):
        log_group(one, f"s{i}")
    for i in reversed(range(20)):
        log_group(two, f"s{i}", "another")
    assert len(one.samples) == 5
    assert one.samples.keys() == two.samples.keys()


def test_replayed_steps_overwrite_what_they_recorded(tmp_path):
    log = RolloutLog(tmp_path)
    log.begin(3)
    log_group(log, "a", "first", template="t")
    log.add_ratios(7, [1, 2])
    log.write()
    again = RolloutLog(tmp_path)
    again.resume(3)
    log_group(again, "a", "second", template="t")
    log_group(again, "b", "x" * 5000)
    again.add_ratios(7, [3, 4])
    again.write()
    run = RolloutLog(tmp_path)
    run.resume(3)
    assert run.samples["a"]["rollouts"] == [[0, "second", 0.0, False]] * 2
    assert run.ratio_counts == {"7": [3, 4]}
    assert run.templates.texts == ["t"]
    assert len(run.samples["b"]["rollouts"][0][1]) < 2000
    run.resume(4)
    assert run.samples == {}


def test_ratio_counts_lie_in_their_bins():
    log10 = torch.tensor([-9.0, -5.9, -0.1, 0.1, 2.9, 5.0])
    counts = count_ratios(log10 * torch.log(torch.tensor(10.0)))
    assert len(counts) == len(LOG10_EDGES) + 1
    assert sum(counts) == 6
    assert counts[0] == counts[-1] == counts[1] == counts[-2] == 1


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><style>@import url(//evil)</style>",
    "</title></text></svg><iframe src=//evil>",
    "<!--<script>",
    "]]><a href=javascript:alert(1)>x</a>",
    "{{ 7 * 7 }}{% raw %}",
    "${alert(1)}`",
    r"$\frac{1$",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "__proto__",
    "_constructor",
    "\x1b]52;c;cm0gLXJmIH4K\x07 \x1b]52;c;YQ==\x1b\\",
    "\x1b[2J\x1b[31m\x9b2J\x90q\x9c\x1bc",
    "a\x00b\x07c\x08d\x7fe\x85f",
    "\u202edesrever\u202c \u2066isolated\u2069 \u200f",
    "lone \udc80 surrogate",
    "line\u2028separator\r\nand \x0b tab",
    "\U000e0041\U000e0042 tags",
]


class Elements(HTMLParser):
    """The page's elements with the names of their attributes, and the text of its data."""

    def __init__(self):
        super().__init__()
        self.found, self.data, self.inside = [], "", False

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, [name for name, _ in attrs]))
        self.inside = dict(attrs).get("id") == "data"

    def handle_data(self, data):
        self.data += data if self.inside else ""

    def handle_endtag(self, tag):
        self.inside = False


def elements(page):
    parser = Elements()
    parser.feed(page)
    return parser


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_element_and_no_control_character(tmp_path, text):
    tame = elements(write_report([make_run(tmp_path / "tame" / "run", text="tame")]).read_text(encoding="utf-8"))
    run = make_run(tmp_path / "hostile" / "run", text=text)
    for file in [*run.glob("p2o/epoch-*.json"), *run.glob("p2o/rollouts-*.json")]:
        file.write_text(file.read_text().replace('"dies"', json.dumps(f"dies {text}")))
    page = write_report([run]).read_text(encoding="utf-8")
    hostile = elements(page)
    assert [e for e in hostile.found if e[0] not in SVG] == [e for e in tame.found if e[0] not in SVG]
    assert {e[0] for e in hostile.found} == {e[0] for e in tame.found}
    assert not CONTROLS.search(page)
    json.loads(hostile.data, parse_constant=pytest.fail)  # no NaN, which is no JSON
    assert "http" not in re.sub(r'http-equiv|xmlns(:xlink)?="http[^"]*"', "", page)


CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069\U000e0000-\U000e007f]")
SVG = ("path", "g", "use", "defs", "text", "svg", "clippath", "rect", "style", "title")
"""Drawn by matplotlib: a label's length changes how many strokes there are."""


def test_what_was_not_measured_is_no_zero(tmp_path):
    run = make_run(tmp_path)
    file = run / "p2o" / "evolution-001" / "evolution.json"
    evolution = read_json(file)
    evolution["candidates"][2]["dev_mean"] = None  # accepted, and killed before its dev rollouts
    write_json(file, evolution)
    (run / "p2o" / "epoch-000.json").unlink()  # killed before the pool was written
    page = write_report([run]).read_text(encoding="utf-8")
    assert "no pool yet" in page
    assert "solves 0 of" not in page
    assert 'aria-label="template 2, dev score –"' in page
    rollouts = json.loads(elements(page).data)["runs"][0]["samples"]["0"]["rollouts"]
    assert [reward for _, _, reward, _ in rollouts["0"]][:2] == [0.0, None]  # NaN: not scorable


def test_turns_of_a_rollout_are_shown_apart(tmp_path):
    run = make_run(tmp_path)
    file = run / "p2o" / "rollouts-001.json"
    record = read_json(file)
    turns = [["call", EVIL, "{}"], ["result", EVIL, EVIL], ["said", "", EVIL]]
    sample = next(iter(record["samples"].values()))
    sample["rollouts"] = [[None, "the same as text", 1.0, True, turns]]
    write_json(file, record)
    steps = [(1 / 3, 0.0, None), (1.0, 0.5, 1.0), (4 / 3, 2.0, 0.5), (2.0, 3.0, 0.0)]
    log = [
        {"epoch": e, "p2o/tool_calls/bare": c, **({} if f is None else {"p2o/tool_failures/bare": f})}
        for e, c, f in steps
    ]
    write_rows(run / "p2o" / METRICS_FILE, log)
    page = write_report([run]).read_text(encoding="utf-8")
    assert EVIL not in page
    shown = [s["rollouts"].get("1") for s in json.loads(elements(page).data)["runs"][0]["samples"].values()]
    assert any(r and r[0][1] == "" and [t[0] for t in r[0][4]] == ["call", "result", "said"] for r in shown)
    assert "bare: 0.25 (epoch 1)" in page
    assert "bare: 2.5 (epoch 2)" in page
    assert "bare: 100.0 % (epoch 1)" in page  # a step without a call is not in the share
    assert "bare: 25.0 % (epoch 2)" in page


def test_prompts_without_room_are_said(tmp_path):
    run = make_run(tmp_path)
    log = [{"epoch": 1.0, "eval_bare_success": 0.5, "eval_no_room": 0.25}]
    write_rows(run / "p2o" / METRICS_FILE, log)
    assert "25.0 % of the eval prompts leave no room" in write_report([run]).read_text(encoding="utf-8")
    write_json(run / "p2o" / "result.json", {"before": {}, "after": {"test_bare_success": 0.5, "test_no_room": 0.5}})
    assert "50.0 % of the test prompts leave no room" in write_report([run]).read_text(encoding="utf-8")


def test_an_unselected_pool_has_no_scores(tmp_path):
    run = make_run(tmp_path)
    file = run / "p2o" / "epoch-000.json"
    epoch = read_json(file, SCHEMA)
    epoch["pool"] = [{"text": "a proposal", "weight": 1.0, "solves": [], "scored": False}]
    write_json(file, epoch, SCHEMA)
    page = write_report([run]).read_text(encoding="utf-8")
    assert "a proposal, not scored" in page
    assert "solves 0 of" not in page
    assert "100.0 %" not in page


def test_a_teachers_tokens_that_nobody_reported_are_not_shown_as_none(tmp_path):
    run = make_run(tmp_path / "run")
    cost_file = run / "p2o" / "cost.json"
    cost = json.loads(cost_file.read_text())
    for replies, said in ((3, True), (0, False), (None, False)):  # None: a run of an earlier version
        cost["reflect"]["unmeasured_replies"] = replies
        if replies is None:
            del cost["reflect"]["unmeasured_replies"]
        cost_file.write_text(json.dumps(cost))
        page = write_report([run], tmp_path / "r.html").read_text(encoding="utf-8")
        assert (">not measured</td>" in page) is said
        assert ("3 replies of the reflector came without a count" in page) is said


def test_each_template_is_once_in_the_page(tmp_path):
    run = make_run(tmp_path)
    file = run / "p2o" / "evolution-001" / "evolution.json"
    evolution = read_json(file)
    refused = [
        {**evolution["candidates"][1], "id": 4 + n, "template": f"Refused {n % 300}. {'x' * 3000}"} for n in range(600)
    ]
    evolution["candidates"] += refused
    write_json(file, evolution)
    data = json.loads(elements(write_report([run]).read_text(encoding="utf-8")).data)["runs"][0]
    rows = [dict(zip(data["candidate"], row, strict=True)) for row in data["evolutions"]["0"]]
    texts = data["texts"]
    assert len(set(texts)) == len(texts)
    assert rows[0]["template"] is None  # the bare prompt
    assert [texts[c["template"]] for c in rows[1:4]] == ["Think.", clean_text(template()), "Think, and say 7."]
    assert [texts[i] for i in rows[2]["minibatch"]] == ["leans"]
    assert texts[rows[2]["reason"]] == "0 → 1"
    assert rows[4]["template"] == rows[304]["template"]
    assert all(texts[c["template"]].startswith(f"Refused {n % 300}.") for n, c in enumerate(rows[4:]))
    assert sum(map(len, texts)) < 1.5 * MAX_TEMPLATE_CHARS  # they lose their middle
    (rescued,) = (s for i, s in data["samples"].items() if data["rows"][int(i)][0] == "leans")
    assert {texts[r[0]] for r in rescued["rollouts"]["1"]} == {clean_text(template())}
