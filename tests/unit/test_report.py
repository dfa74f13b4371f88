"""The report: what it reads, how it counts, and that nothing in it can act."""

import re

import pytest
import torch

from p2o.analysis.report import write_report
from p2o.analysis.report.page import payload
from p2o.analysis.report.states import by_story, matrix
from p2o.analysis.report.tree import layout
from p2o.core.evolve.result import Candidate
from p2o.core.rollout_log import LOG10_EDGES, EpochRecord, RecordedRollout, count_ratios
from p2o.errors import StateError
from p2o.runs.run_directory import read_run
from runs import EVIL, make_run


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
    assert not re.search(r"url\((?!#)", page)
    assert "Every rollout of 3 of 4 samples failed in some epoch" in page


def test_page_of_a_run_that_has_hardly_begun(tmp_path):
    run = make_run(tmp_path, epochs=0)
    assert write_report([run]).exists()
    (run / "p2o" / "metrics.json").unlink()
    (run / "p2o" / "cost.json").unlink()
    assert write_report([run], tmp_path / "elsewhere" / "r.html").exists()


def test_several_runs_side_by_side(tmp_path):
    runs = [make_run(tmp_path / "one" / "run"), make_run(tmp_path / "two" / "run", epochs=0)]
    page = write_report(runs).read_text(encoding="utf-8")
    assert all(f">{run}</a>" in page for run in runs)
    assert "Comparison" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)


def test_no_run_is_told(tmp_path):
    with pytest.raises(StateError, match="no run in"):
        write_report([tmp_path])


def test_page_holds_as_many_rollouts_as_fit(tmp_path):
    run = read_run(make_run(tmp_path))
    assert set(payload(run, 10**6)["samples"]) == {"dies", "learns", "leans"}
    assert payload(run, 10)["samples"] == {}
    assert payload(run, 10)["rows"] == payload(run, 10**6)["rows"]


def record_group(record, sample_id, completion="c", template=""):
    record.add_group(sample_id, "question", "1", [RecordedRollout(template, completion, 0.0, False)] * 2)


def test_record_is_bounded_and_keeps_the_same_samples(tmp_path):
    one, two = EpochRecord(tmp_path, max_samples=5), EpochRecord(tmp_path, max_samples=5)
    for i in range(20):
        record_group(one, f"s{i}")
    for i in reversed(range(20)):
        record_group(two, f"s{i}", "another")
    assert len(one.samples) == 5
    assert one.samples.keys() == two.samples.keys()


def test_replayed_steps_overwrite_what_they_recorded(tmp_path):
    record = EpochRecord(tmp_path)
    record.begin(3)
    record_group(record, "a", "first", template="t")
    record.add_ratios(7, [1, 2])
    record.write()
    again = EpochRecord(tmp_path)
    again.resume(3)
    record_group(again, "a", "second", template="t")
    record_group(again, "b", "x" * 5000)
    again.add_ratios(7, [3, 4])
    again.write()
    run = EpochRecord(tmp_path)
    run.resume(3)
    assert run.samples["a"]["rollouts"] == [[0, "second", 0.0, False]] * 2
    assert run.ratio_counts == {"7": [3, 4]}
    assert run.templates == ["t"]
    assert len(run.samples["b"]["rollouts"][0][1]) < 2000
    run.resume(4)
    assert run.samples == {}


def test_ratio_counts_lie_in_their_bins():
    log10 = torch.tensor([-9.0, -5.9, -0.1, 0.1, 2.9, 5.0])
    counts = count_ratios(log10 * torch.log(torch.tensor(10.0)))
    assert len(counts) == len(LOG10_EDGES) + 1
    assert sum(counts) == 6
    assert counts[0] == counts[-1] == counts[1] == counts[-2] == 1
