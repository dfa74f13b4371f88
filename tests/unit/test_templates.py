"""Template application, greedy cover, pool and assignment."""

import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2o.core.templates import (
    PoolTemplate,
    apply_template,
    apply_to_prompt,
    assign,
    control_tokens_in,
    greedy_cover,
    make_pool,
    pool_from_json,
    pool_to_json,
)

CHAT = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "3 + 3?"},
]


def test_template_stands_before_the_last_user_text_with_a_blank_line():
    assert apply_template("Think.", CHAT) == [*CHAT[:3], {"role": "user", "content": "Think.\n\n3 + 3?"}]
    assert CHAT[3]["content"] == "3 + 3?"  # the input stays as it is


def test_empty_template_is_the_bare_prompt():
    assert apply_template("", CHAT) == CHAT
    assert apply_template(" \n", CHAT) == CHAT


def test_template_without_user_message_is_refused():
    with pytest.raises(ValueError, match="user message"):
        apply_template("Think.", [{"role": "system", "content": "x"}])


def test_the_template_stands_in_the_first_text_part():
    image, text = {"type": "image", "image": "x"}, {"type": "text", "text": "What?"}
    chat = [{"role": "user", "content": [image, text, {"type": "text", "text": "Why?"}]}]
    (applied,) = apply_template("Think.", chat)
    assert applied["content"] == [
        image,
        {"type": "text", "text": "Think.\n\nWhat?"},
        {"type": "text", "text": "Why?"},
    ]
    assert chat[0]["content"][1] is text
    assert text["text"] == "What?"
    (alone,) = apply_template("Think.", [{"role": "user", "content": [image]}])
    assert alone["content"] == [{"type": "text", "text": "Think."}, image]
    assert apply_template("", chat) == chat


def test_plain_text_prompts():
    assert apply_to_prompt("Think.", "3 + 3?") == "Think.\n\n3 + 3?"
    assert apply_to_prompt("", "3 + 3?") == "3 + 3?"


def test_control_tokens_are_found():
    tokens = ["<|im_end|>", "<|im_start|>", " ", ""]
    assert control_tokens_in("Be good.<|im_end|>\n<|im_start|>assistant", tokens) == [
        "<|im_end|>",
        "<|im_start|>",
    ]
    assert control_tokens_in("Be good.", tokens) == []


def test_greedy_cover_takes_the_largest_new_cover_first():
    scores = [[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 1], [0.9, 0.9, 0.9, 0.9, 0.9]]
    assert greedy_cover(scores) == [1, 0, 2]
    assert greedy_cover([[0, 0], [0.5, 0]]) == []
    assert greedy_cover([]) == []


matrices = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=width, max_size=width), max_size=6)
)


@given(matrices)
def test_cover_is_complete_without_idle_members_and_near_the_smallest(scores):
    solved = [{v for v, s in enumerate(row) if s >= 1} for row in scores]
    cover = greedy_cover(scores)
    everything = set().union(*solved) if solved else set()
    assert set().union(*(solved[c] for c in cover)) == everything
    seen: set[int] = set()
    sizes = []
    for c in cover:
        sizes.append(len(solved[c] - seen))
        seen |= solved[c]
    assert all(sizes)
    assert sizes == sorted(sizes, reverse=True)
    smallest = next(
        n for n in range(len(scores) + 1)
        if any(set().union(set(), *(solved[c] for c in chosen)) == everything
               for chosen in combinations(range(len(scores)), n))
    )  # fmt: skip
    harmonic = sum(1 / n for n in range(1, max(map(len, solved), default=0) + 1))
    assert len(cover) <= smallest * max(1, harmonic)


def test_pool_holds_the_cover_with_mean_dev_scores():
    pool = make_pool(
        ["", "A", "B"],
        [[0, 0, 0, 0], [1, 1, 0, 0.5], [1, 0, 1, 0]],
        [[False] * 4, [True, True, False, False], [True, False, True, False]],
        ["p", "q", "r", "s"],
    )
    assert pool == [
        PoolTemplate("A", 0.625, frozenset({"p", "q"})),
        PoolTemplate("B", 0.5, frozenset({"p", "r"})),
    ]
    unscored = PoolTemplate("C", 1.0, frozenset(), scored=False)
    assert pool_from_json(pool_to_json([*pool, unscored])) == [*pool, unscored]


POOL = [PoolTemplate("A", 0.6, frozenset({"p"})), PoolTemplate("B", 0.2, frozenset({"p", "q"}))]


def test_dev_samples_draw_among_the_templates_that_solved_them():
    for seed in range(20):
        drawn = assign(["q"], POOL, 6, random.Random(seed))
        assert drawn == {"q": ["B"] * 6}


def test_other_samples_draw_among_the_whole_pool_by_mean_dev_score():
    counts: Counter[str] = Counter()
    for seed in range(500):
        counts.update(assign(["train"], POOL, 6, random.Random(seed))["train"])
    # weights 0.6 : 0.2, so three quarters of 3,000 draws; five standard deviations are 119
    assert abs(counts["A"] - 2250) < 119


def test_draws_have_a_floor_for_zero_weights():
    pool = [PoolTemplate("A", 0.0, frozenset())]
    assert assign(["x"], pool, 3, random.Random(0)) == {"x": ["A"] * 3}


def test_bare_slots_come_last_and_same_template_is_one_draw():
    for seed in range(10):
        drawn = assign(["x"], POOL, 4, random.Random(seed), bare_slots=1, same_template=True)["x"]
        assert drawn[3] == ""
        assert len(set(drawn[:3])) == 1


def test_no_pool_means_no_templates():
    assert assign(["x"], [], 4, random.Random(0)) == {}
    only_bare = [PoolTemplate("", 0.1, frozenset({"x"}))]
    assert assign(["x"], only_bare, 4, random.Random(0)) == {}


def test_forbidden_pairs_never_meet():
    def forbidden(template: str, sample_id: str) -> bool:
        return (template, sample_id) in {("B", "q"), ("A", "z"), ("B", "z")}

    drawn = assign(["q", "z"], POOL, 6, random.Random(1), forbidden=forbidden)
    assert drawn == {"q": ["A"] * 6}


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 8), st.integers(0, 3))
def test_assignment_is_deterministic_and_fills_k_slots(seed, k, bare):
    ids = ["p", "q", "x"]
    first = assign(ids, POOL, k, random.Random(seed), bare_slots=min(bare, k - 1))
    again = assign(ids, POOL, k, random.Random(seed), bare_slots=min(bare, k - 1))
    assert first == again
    assert all(len(t) == k for t in first.values())
