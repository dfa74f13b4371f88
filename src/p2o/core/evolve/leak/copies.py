"""Copies of the samples' own texts, also of a part of one, and with words changed here and there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from itertools import accumulate, pairwise, product
from statistics import median_low
from typing import NamedTuple

from .tokens import Form

_GAP = 0.75  # what a foreign token inside of a copy costs …
_FREE = 3  # … after the first for every three of the sample's own
_DIGIT = math.log(10)
_MOST_DIGITS = 4
_WORD, _SHORT, _FUNCTION = 1.5, 1.0, 0.5
_FUNCTION_TEXT = """
a an the of to in on at by for from with as is are was be has have had do does did it its this that these those and or
if then than so not no what which how many much who when where there their they he she his her we us our you your i my
all each one two will can into out up about after before more some any let
"""
_FUNCTION_WORDS = frozenset(_FUNCTION_TEXT.split())
_COMMON = 16  # threes of tokens in more texts than this lead to none of them
_LOOKED_AT = 12  # texts that a template is compared with, those with most threes in common
_ONE_WORDING = 8  # texts with the same threes of tokens: a form that is filled in
_FORM = 0.25  # the share of a form's texts that hold its own words, at least
_MOSTLY = 0.6  # of a text are the form's own words
_OF_A_FORM = 64  # texts that are looked at for them
_LEAST_IN_SLOTS = 4.0
_LEFT_OUT = 1.4  # what a word of the sample's own costs there when the copy does not have it: log of one in four
_WORDS, _WORDS_IN_SLOTS = 4, 6  # the fewest different tokens of a copy; fewer are a few numbers in a row
_SHARED_BY = 3  # threes of tokens in this many texts are the data set's own wording


class _Weights(dict[str, float]):
    """How much a token tells, in natural logarithms: one over how often it is met."""

    def __missing__(self, token: str) -> float:
        if token.isdecimal():
            weight = _DIGIT * min(len(token.rstrip("0")) or 1, _MOST_DIGITS) if len(token) > 1 else _SHORT
        elif token in _FUNCTION_WORDS or not token.isalnum():
            weight = _FUNCTION
        else:
            weight = _SHORT if len(token) == 1 else _WORD
        self[token] = weight
        return weight


_weight = _Weights()


def _rarity(token: str) -> float:
    return _DIGIT * min(len(token.rstrip("0")) or 1, _MOST_DIGITS) if token.isdecimal() else 2.0


def _threes(text: Form) -> list[int]:
    return list(map(hash, zip(text, text[1:], text[2:], strict=False)))


def _skeleton(text: Form) -> int:
    """A text without its numbers: what "What is 17 + 25?" and "What is 3 + 4?" have in common."""
    return hash(tuple(["0" if t.isdecimal() else t for t in text]))


Pair = tuple[str, str, int]
"""Two tokens of a text, and how many places the second one is after the first."""


def _pairs(text: Form, skipping: bool) -> Set[Pair]:
    found = {(a, b, 1) for a, b in pairwise(text)}
    return found | {(a, b, 2) for a, b in zip(text, text[2:], strict=False)} if skipping else found


class Reading(NamedTuple):
    """What the guard knows of one text."""

    tells: dict[str, float]
    """Token → how much it tells here; less when it usually follows the one before it in other samples."""
    alike: float
    """The log of how many texts are worded alike."""
    pairs: Set[Pair]
    """The tokens that follow each other, in slots also with one between them."""
    slots: bool
    """Whether most of its wording is the data set's, and only some places are its own."""


class Copies:
    """All texts of a hard set, and which tokens usually follow others in them. Building it reads every text once.

    Args:
        samples: the texts of each sample, as tokens.
    """

    def __init__(self, samples: Iterable[Iterable[Form]]) -> None:
        self.samples = [[text for text in dict.fromkeys(texts) if len(text) > 2] for texts in samples]
        self.first: dict[int, int] = {}  # three tokens → the first sample that has them
        self.others: dict[int, list[int]] = {}  # … and the others
        self.tokens: Counter[str] = Counter()  # in how many samples
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.skeletons: Counter[int] = Counter()
        for number, texts in enumerate(self.samples):
            for three in {three for text in texts for three in _threes(text)}:
                if self.first.setdefault(three, number) != number:
                    self.others.setdefault(three, []).append(number)
            self.tokens.update({t for text in texts for t in text})
            self.pairs.update({p for text in texts for p in pairwise(text)})
            self.skeletons.update(set(map(_skeleton, texts)))
        self.read: dict[Form, Reading] = {}
        self.forms: dict[int, frozenset[str]] = {}  # three tokens → the words of the form that they belong to

    def _reading(self, text: Form) -> Reading:
        """What a sample's text tells, worked out when it is first needed."""
        if text not in self.read:
            threes = _threes(text)
            counts = [1 + len(self.others.get(t, ())) for t in threes]
            form, alike = self._form(text, threes, counts)
            if form:
                self.read[text] = Reading(
                    self._fillings(text, counts, form, alike), math.log(alike), _pairs(text, skipping=True), slots=True
                )
            else:
                alike = median_low(counts)
                self.read[text] = Reading(
                    self._tells(text, counts, alike), math.log(alike), _pairs(text, skipping=False), slots=False
                )
        return self.read[text]

    def _form(self, text: Form, threes: list[int], counts: list[int]) -> tuple[frozenset[str], int]:
        """The words of the form that a text fills in, and in how many texts it is filled in; none for other texts.

        Texts that differ in their numbers alone have one form. Else an eighth of the threes of tokens must be in many
        texts; without the first and last ones that most samples have, which say in which format to answer. Most of the
        text must then be words that at least a quarter of those samples have.
        """
        same = self.skeletons[_skeleton(text)]
        rare = [i for i, count in enumerate(counts) if 2 * count < len(self.samples)]
        inner = range(rare[0], rare[-1] + 1) if rare else range(len(counts))
        by_count = sorted(inner, key=counts.__getitem__)
        alike = counts[by_count[len(by_count) * 7 // 8]]
        if same >= max(_ONE_WORDING, alike):
            return frozenset(t for t in text if not t.isdecimal()), same
        if alike >= _ONE_WORDING:
            form = self._words_of_form(threes[by_count[-1]])
            within = text[inner.start : inner.stop + 2]
            if sum(t in form for t in within) >= _MOSTLY * len(within):
                return form, alike
        return frozenset(), 1

    def _words_of_form(self, three: int) -> frozenset[str]:
        """The tokens that at least a quarter of the samples have that hold three tokens of a form."""
        if three not in self.forms:
            numbers = [self.first[three], *self.others.get(three, ())]
            some = numbers[:: len(numbers) // _OF_A_FORM + 1]
            held = Counter(t for number in some for t in {t for text in self.samples[number] for t in text})
            self.forms[three] = frozenset(t for t, count in held.items() if count - 1 >= _FORM * (len(some) - 1))
        return self.forms[three]

    def _fillings(self, text: Form, counts: list[int], form: frozenset[str], alike: int) -> dict[str, float]:
        """How rare each token is among those that fill in its place."""
        tells: dict[str, float] = {}
        for i, token in enumerate(text):
            if token not in form:
                beside = (self.pairs[pair] for pair in pairwise(text[max(0, i - 1) : i + 2]))
                count = max(*beside, *counts[max(0, i - 2) : i + 1], 1)
                told = max(_rarity(token), math.log(alike)) - math.log(count)
                if told >= _LEFT_OUT:
                    tells[token] = max(told, tells.get(token, 0.0))
        return tells

    def _tells(self, text: Form, counts: list[int], alike: int) -> dict[str, float]:
        """How much each token tells after the one before it: less when it often follows in other samples; without
        the data set's own wording."""
        tells: dict[str, float] = {}
        for i, token in enumerate(text):
            if max(counts[max(0, i - 2) : i + 1]) < max(_SHARED_BY, alike / 4):
                weight, before = _weight[token], text[i - 1] if i else ""
                followed, seen = self.pairs[before, token] - 1, self.tokens[before] - 1
                told = min(weight, math.log(seen / followed)) if followed > 0 else weight
                tells[token] = max(told, tells.get(token, 0.0))
        return tells

    def _nearest(self, text: Form) -> list[int]:
        """The samples with most threes of tokens in common, rare ones counting more."""
        common: Counter[int] = Counter()
        for three in set(_threes(text)):
            if three in self.first:
                others = self.others.get(three, ())
                if len(others) < _COMMON:
                    for number in (self.first[three], *others):
                        common[number] += 60 // (1 + len(others))
        return [number for number, _ in common.most_common(_LOOKED_AT)]

    def holds_copy(self, text: Form, least: float, share: float, enough: float) -> bool:
        """Whether a text holds a copy.

        Pairs of tokens that also occur in one sample's text add the weights of their tokens, each token once. Other
        tokens between them cost a little when they are more than one in four. Take the largest sum over tokens in a
        row, minus the log of the number of texts with the same wording. It is a copy when this sum is ``enough``; or
        when it is at least ``least`` and this ``share`` of the text's total weight; or when no number and none of the
        text's own words is missing, and its tokens would weigh ``least`` in any text.
        """
        pairs = _pairs(text, skipping=True)
        own = (copied for number in self._nearest(text) for copied in self.samples[number])
        return any(self._is_copy(text, pairs, copied, least, share, enough) for copied in own)

    def _is_copy(self, text: Form, pairs: Set[Pair], copied: Form, least: float, share: float, enough: float) -> bool:
        reading = self._reading(copied)
        most = sum(reading.tells.values())
        if not most:
            return False
        wanted = reading.alike + (_LEAST_IN_SLOTS if reading.slots else min(enough, max(least, share * most)))
        its_own = {*reading.tells, *filter(str.isdecimal, copied)}
        held = {token for a, b, _ in reading.pairs & pairs for token in (a, b)}
        if not its_own <= held and sum(reading.tells.get(token, 0.0) for token in held) < wanted:
            return False  # in whatever order they are
        words, left_out = (_WORDS_IN_SLOTS, _LEFT_OUT) if reading.slots else (_WORDS, 0.0)
        score, tokens = _best_run(text, copied, reading.tells, words, left_out)
        return score >= wanted or (its_own <= tokens and sum(_weight[t] for t in tokens) >= least)


def _best_run(
    text: Form, copied: Form, tells: Mapping[str, float], words: int, left_out: float
) -> tuple[float, set[str]]:
    """The largest sum over a text's tokens in a row, and all of the copied text's tokens in that row.

    Args:
        words: the fewest different tokens of the copied text in the row.
        left_out: what each of the copied text's own tokens costs that is missing between two that are there.
    """
    reach = (1, 2) if left_out else (1,)
    places: dict[Pair, list[int]] = {}
    for apart in reach:
        for place, (a, b) in enumerate(zip(copied, copied[apart:], strict=False)):
            places.setdefault((a, b, apart), []).append(place)
    own = [0, *accumulate(token in tells for token in copied)]  # how many are before each place
    best = most = score = 0.0
    found: set[str] = set()
    held: set[str] = set()
    end = in_a_row = after = 0
    for i, apart in product(range(len(text)), reach):
        found_at = places.get((text[i], text[i + apart], apart)) if i + apart < len(text) else None
        if found_at is None:
            continue
        place = next((p for p in found_at if p >= after - 1), found_at[-1])
        if i > end:
            score -= _GAP * max(0, i - end - in_a_row // _FREE)
            in_a_row = 0
        if left_out and place > after:
            score -= left_out * (own[place] - own[after])
        if score < 0:
            score, held = 0.0, set()
        pair = {text[i], text[i + apart]}
        in_a_row += max(0, i + apart + 1 - max(i, end))
        score += sum(tells.get(t, 0.0) for t in pair - held)
        held |= pair
        end, after = max(end, i + apart + 1), place + apart + 1
        if score >= most:
            most, found = score, set(held)
        if len(held) >= words:
            best = max(best, score)
    return best, found
