"""Copies of the samples' own texts, also of a part of one, and with words changed here and there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from .tokens import Form

_GAP = 0.75  # what a foreign token inside of a copy costs
_FREE = 3  # … beyond one in so many of the sample's own
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
_SLOT = 3.0  # the most that a word tells there
_LEAST_IN_SLOTS = 4.0
_SHARE_OF_SLOTS = 0.6
_WORDS, _WORDS_IN_SLOTS = 4, 6  # a copy has so many different tokens; fewer are a few numbers in a row
_SHARED_BY = 3  # threes of tokens in so many texts are the data set's own wording


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


def _threes(text: Form) -> list[int]:
    return list(map(hash, zip(text, text[1:], text[2:], strict=False)))


def _skeleton(text: Form) -> int:
    """A text without its numbers: what "What is 17 + 25?" and "What is 3 + 4?" have in common."""
    return hash(tuple(["0" if t.isdecimal() else t for t in text]))


class Reading(NamedTuple):
    """What the guard knows of one text."""

    tells: dict[str, float]
    """Token → how much it tells here; less when it usually follows the one before it in other samples."""
    alike: float
    """The log of how many texts are worded alike."""
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

    def _reading(self, text: Form) -> Reading:
        """What a sample's text tells, worked out when it is first needed."""
        if text not in self.read:
            threes = [1 + len(self.others.get(t, ())) for t in _threes(text)]
            alike = max(median_low(threes), self.skeletons[_skeleton(text)])
            wording = max(_SHARED_BY, alike / 4)
            tells: dict[str, float] = {}
            for i, token in enumerate(text):
                if max(threes[max(0, i - 2) : i + 1]) < wording:
                    tells[token] = max(self._surprise(text[i - 1] if i else "", token, alike), tells.get(token, 0.0))
            self.read[text] = Reading(tells, math.log(alike), alike >= _ONE_WORDING)
        return self.read[text]

    def _surprise(self, before: str, token: str, alike: int) -> float:
        """How much a token tells after another one: less when it often follows in other samples."""
        weight = _weight[token]
        followed, seen = self.pairs[before, token] - 1, self.tokens[before] - 1
        if followed <= 0:
            return weight
        return min(max(weight, _SLOT) if alike >= _ONE_WORDING else weight, math.log(seen / followed))

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
        own = (copied for number in self._nearest(text) for copied in self.samples[number])
        return any(self._is_copy(text, copied, least, share, enough) for copied in own)

    def _is_copy(self, text: Form, copied: Form, least: float, share: float, enough: float) -> bool:
        reading = self._reading(copied)
        most = sum(reading.tells.values())
        if not most:
            return False
        score, tokens = _best_run(text, copied, reading.tells)
        its_own = {*reading.tells, *filter(str.isdecimal, copied)}
        if its_own <= tokens and sum(_weight[t] for t in tokens) >= least:
            return True
        if reading.slots:
            enough_told = score >= _SHARE_OF_SLOTS * most and score - reading.alike >= _LEAST_IN_SLOTS
            return enough_told and len(tokens) >= _WORDS_IN_SLOTS
        return score - reading.alike >= min(enough, max(least, share * most)) and len(tokens) >= _WORDS


def _best_run(text: Form, copied: Form, tells: Mapping[str, float]) -> tuple[float, set[str]]:
    """The largest sum over a text's tokens in a row, and all of the copied text's tokens in that row."""
    pairs = set(pairwise(copied))
    best = score = 0.0
    found: set[str] = set()
    held: set[str] = set()
    end = in_a_row = 0
    for i, pair in enumerate(pairwise(text)):
        if pair not in pairs:
            continue
        if i > end:
            score -= _GAP * max(0, i - end - in_a_row // _FREE)
            in_a_row = 0
            if score <= 0:
                score, held = 0.0, set()
        in_a_row += i + 2 - max(i, end)
        score += sum(tells.get(t, 0.0) for t in {*pair} - held)
        held.update(pair)
        end = i + 2
        if score >= best:
            best, found = score, set(held)
    return best, found
