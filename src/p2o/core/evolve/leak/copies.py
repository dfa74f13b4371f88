"""Copies of the samples' own texts, also of a part of one, and with words changed here and there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain, pairwise
from statistics import median_low

from .holders import Holders
from .readings import WEIGHT, Pair, Reading, Wording, derived, wording
from .tokens import Form

_GAP = 0.75  # what a foreign token inside of a copy costs …
_FREE = 3  # … after the first for every three of the sample's own
_COMMON = 16  # threes of tokens in more texts than this lead to none of them
_LOOKED_AT = 12  # texts that a template is compared with, those with most threes in common
_ONE_WORDING = 4  # texts with the same threes of tokens: a form that is filled in
_MOSTLY = 0.5  # of a text are the form's own words
_OF_A_FORM = 64  # texts that are looked at for them
_LEAST_IN_SLOTS = 4.2  # log of the odds that no fresh problem of the form holds as much: one in 67
_LEFT_OUT = 1.4  # what a word of the sample's own costs there when the copy does not have it: log of one in four
_WORDS, _WORDS_IN_SLOTS = 4, 6  # the fewest different tokens of a copy; fewer are a few numbers in a row
_SHARED_BY = 3  # threes of tokens in this many texts are the data set's own wording


def _threes(text: Form) -> list[int]:
    return list(map(hash, zip(text, text[1:], text[2:], strict=False)))


def _pairs(text: Form) -> list[int]:
    return list(map(hash, pairwise(text)))


def _skeleton(text: Form) -> int:
    """A text without its numbers: what "What is 17 + 25?" and "What is 3 + 4?" have in common."""
    return hash(tuple(["0" if t.isdecimal() else t for t in text]))


def _places(text: Form, reach: Sequence[int]) -> dict[Pair, list[int]]:
    """Where each pair of tokens begins, for each distance of the two."""
    places: dict[Pair, list[int]] = {}
    for apart in reach:
        for place, (a, b) in enumerate(zip(text, text[apart:], strict=False)):
            places.setdefault((a, b, apart), []).append(place)
    return places


def _reach(slots: bool) -> tuple[int, ...]:
    return (1, 2) if slots else (1,)


class Copies:
    """All texts of a hard set, and which tokens usually follow others in them. Building it reads every text once.

    Args:
        samples: the texts of each sample, as tokens.
    """

    def __init__(self, samples: Iterable[Iterable[Form]]) -> None:
        self.samples = [[text for text in dict.fromkeys(texts) if len(text) > 2] for texts in samples]
        self.threes = Holders({three for text in texts for three in _threes(text)} for texts in self.samples)
        self.read: dict[Form, Reading] = {}
        self.wordings: dict[int, Wording] = {}  # three tokens → the form that they belong to

    # What only a comparison needs: most templates have no rare three tokens in common with a sample.

    @cached_property
    def pairs(self) -> Holders:
        """Which samples hold two tokens in a row."""
        return Holders({pair for text in texts for pair in _pairs(text)} for texts in self.samples)

    @cached_property
    def tokens(self) -> Counter[str]:
        """In how many samples a token is."""
        return Counter(t for texts in self.samples for t in set(chain.from_iterable(texts)))

    @cached_property
    def skeletons(self) -> Counter[int]:
        """In how many samples a text without its numbers is."""
        return Counter(s for texts in self.samples for s in set(map(_skeleton, texts)))

    def _reading(self, text: Form) -> Reading:
        """What a sample's text tells, worked out when it is first needed."""
        if text not in self.read:
            threes = _threes(text)
            counts = self.threes.counts(threes)
            form, alike = self._form(text, threes, counts)
            pairs = frozenset(_places(text, _reach(form is not None)))
            if form:
                tells = self._fillings(text, counts, form, alike)
            else:
                alike = median_low(counts)
                tells = self._tells(text, counts, alike)
            self.read[text] = Reading(tells, math.log(alike), pairs, form is not None)
        return self.read[text]

    def _form(self, text: Form, threes: list[int], counts: list[int]) -> tuple[Wording | None, int]:
        """The form that a text fills in, and in how many texts it is filled in; none for other texts.

        Texts that differ in their numbers alone have one form. Else an eighth of the threes of tokens must be in many
        texts; without the first and last ones that most samples have, which say in which format to answer. Most of the
        text must then be words that at least a quarter of those samples have.
        """
        same = self.skeletons[_skeleton(text)]
        rare = [i for i, count in enumerate(counts) if 2 * count < len(self.samples)]
        inner = range(rare[0], rare[-1] + 1) if rare else range(len(counts))
        by_count = sorted(inner, key=counts.__getitem__)
        alike = counts[by_count[len(by_count) * 7 // 8]]
        if max(same, alike) < _ONE_WORDING:
            return None, 1
        form = self._wording(threes[by_count[-1]])
        if same >= max(_ONE_WORDING, alike):
            return form._replace(words=frozenset(t for t in text if not t.isdecimal())), same
        within = text[inner.start : inner.stop + 2]
        return (form, alike) if sum(t in form.words for t in within) >= _MOSTLY * len(within) else (None, 1)

    def _wording(self, three: int) -> Wording:
        """The wording of the texts that hold three tokens of a form."""
        if three not in self.wordings:
            numbers = self.threes.of(three)
            some = numbers[:: len(numbers) // _OF_A_FORM + 1]
            self.wordings[three] = wording(t for n in some for t in self.samples[n] if three in _threes(t))
        return self.wordings[three]

    def _fillings(self, text: Form, counts: list[int], form: Wording, alike: int) -> dict[str, float]:
        """How rare each token is among those that fill in its place."""
        tells: dict[str, float] = {}
        follow = derived(text)
        for i, token in enumerate(text):
            if token not in form.words and i not in follow:
                beside = [(a, b) for a, b in pairwise(text[max(0, i - 1) : i + 2]) if {a, b} & form.words]
                count = max(*self.pairs.counts(list(map(hash, beside))), *counts[max(0, i - 2) : i + 1], 1)
                told = max(form.in_its_place(token), math.log(alike)) - math.log(count)
                if not beside:  # its neighbours are fillings too, and say nothing of its place
                    told = min(told, form.fillings.get(token, told))
                if told >= _LEFT_OUT:
                    tells[token] = max(told, tells.get(token, 0.0))
        return tells

    def _tells(self, text: Form, counts: list[int], alike: int) -> dict[str, float]:
        """How much each token tells after the one before it: less when it often follows in other samples; without
        the data set's own wording."""
        tells: dict[str, float] = {}
        follow = derived(text)
        together = [0, *self.pairs.counts(_pairs(text))]
        for i, token in enumerate(text):
            if i not in follow and max(counts[max(0, i - 2) : i + 1]) < max(_SHARED_BY, alike / 4):
                weight, before = WEIGHT[token], text[i - 1] if i else ""
                followed, seen = together[i] - 1, self.tokens[before] - 1
                told = min(weight, math.log(seen / followed)) if followed > 0 else weight
                tells[token] = max(told, tells.get(token, 0.0))
        return tells

    def _nearest(self, text: Form) -> list[int]:
        """The samples with most threes of tokens in common, rare ones counting more."""
        common: Counter[int] = Counter()
        threes = list(set(_threes(text)))
        for three, count in zip(threes, self.threes.counts(threes), strict=True):
            if 0 < count <= _COMMON:
                for number in self.threes.of(three):
                    common[number] += 60 // count
        return [number for number, _ in common.most_common(_LOOKED_AT)]

    def holds_copy(self, text: Form, least: float, share: float, enough: float) -> bool:
        """Whether a text holds a copy.

        Pairs of tokens that also occur in one sample's text add the weights of their tokens, each token once. Other
        tokens between them cost a little when they are more than one in four. Take the largest sum over tokens in a
        row, minus the log of the number of texts with the same wording. It is a copy when this sum is ``enough``; or
        when it is at least ``least`` and this ``share`` of the text's total weight; or when no number and none of the
        text's own words is missing, and its tokens would weigh ``least`` in any text.
        """
        places = _places(text, _reach(True))
        own = (copied for number in self._nearest(text) for copied in self.samples[number])
        return any(self._is_copy(places, copied, least, share, enough) for copied in own)

    def _is_copy(
        self, places: Mapping[Pair, list[int]], copied: Form, least: float, share: float, enough: float
    ) -> bool:
        reading = self._reading(copied)
        most = sum(reading.tells.values())
        if not most:
            return False
        wanted = reading.alike + (_LEAST_IN_SLOTS if reading.slots else min(enough, max(least, share * most)))
        its_own = {*reading.tells, *filter(str.isdecimal, copied)}
        shared = reading.pairs & places.keys()
        held = {token for a, b, _ in shared for token in (a, b)}
        if not its_own <= held and sum(reading.tells.get(token, 0.0) for token in held) < wanted:
            return False  # in whatever order they are
        words, left_out = (_WORDS_IN_SLOTS, _LEFT_OUT) if reading.slots else (_WORDS, 0.0)
        met = sorted(((place, pair) for pair in shared for place in places[pair]), key=lambda at: (at[0], at[1][2]))
        score, tokens = _best_run(met, copied, reading.tells, words, left_out)
        return score >= wanted or (its_own <= tokens and sum(WEIGHT[t] for t in tokens) >= least)


def _best_run(
    met: Sequence[tuple[int, Pair]], copied: Form, tells: Mapping[str, float], words: int, left_out: float
) -> tuple[float, set[str]]:
    """The largest sum over a text's tokens in a row, and all of the copied text's tokens in that row.

    Args:
        met: the places of the text where a pair of the copied text begins, in order, and the pair.
        words: the fewest different tokens of the copied text in the row.
        left_out: what each of the copied text's own tokens costs that is missing between two that are there.
    """
    reach = _reach(left_out > 0)
    places = _places(copied, reach)
    own = [0, *accumulate(token in tells for token in copied)]  # how many are before each place
    best = most = score = 0.0
    found: set[str] = set()
    held: set[str] = set()
    end = in_a_row = after = 0
    for i, (a, b, apart) in met:
        found_at = places[a, b, apart]
        place = next((p for p in found_at if p >= after - len(reach)), found_at[-1])
        if i > end:
            score -= _GAP * max(0, i - end - in_a_row // _FREE)
            in_a_row = 0
        if left_out and place > after:
            score -= left_out * (own[place] - own[after])
        if score < 0:
            score, held = 0.0, set()
        pair = {a, b}
        in_a_row += max(0, i + apart + 1 - max(i, end))
        score += sum(tells.get(t, 0.0) for t in pair - held)
        held |= pair
        end, after = max(end, i + apart + 1), place + apart + 1
        if score >= most:
            most, found = score, set(held)
        if len(held) >= words:
            best = max(best, score)
    return best, found
