"""Draws completions with transformers: each distinct prompt is computed once, however many completions it gets.

The tokens are those that ``model.generate`` would draw: equal when greedy, equally distributed when sampled. They are
not the same ones, because the random numbers are used in another way: each completion has numbers of its own, so what
it becomes does not depend on the other rows of its batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinPLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from .lean import Forward, forward_of
from .prefill import Prompts, prefill
from .shared_cache import SharedCache

STRETCH = 16
"""Finished completions leave after this many tokens, then after twice as many more, and so on. Each stretch copies the
completions' keys and values."""
GRAPH_STRETCH = 64
"""The same where a step is recorded as a CUDA graph, because each stretch records it anew."""
LOOK = 16
"""Tokens between two looks whether all completions are finished, on a GPU: a look waits for all its work."""
FEWER = 0.8
"""On a CPU finished completions leave as soon as at most this part of them is left, too."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from its logits."""

    ends: tuple[int, ...]
    """Ids of the tokens that end a completion."""
    most: int
    """Longest completion, in tokens."""
    least: int
    """Shortest completion, in tokens: no end is drawn before."""
    temperature: float
    """0 is greedy."""
    truncation: LogitsProcessorList
    """Top-k, top-p and the like; they take log-probs and set some to −inf."""

    @classmethod
    def of(cls, config: GenerationConfig) -> Sampling:
        """The settings of a transformers configuration that `p2o.generation.efficient.why_not` accepts."""
        most, least = config.max_new_tokens, config.min_new_tokens or 0
        ends = [] if config.eos_token_id is None else torch.as_tensor(config.eos_token_id).view(-1).tolist()
        if not config.do_sample:
            return cls(tuple(ends), most, least, 0.0, LogitsProcessorList())
        truncation: list[Any] = []  # in transformers' order
        if config.top_k:
            truncation.append(TopKLogitsWarper(config.top_k))
        if config.top_p is not None and config.top_p < 1:
            truncation.append(TopPLogitsWarper(config.top_p))
        if config.min_p is not None:
            truncation.append(MinPLogitsWarper(config.min_p))
        if config.typical_p is not None and config.typical_p < 1:
            truncation.append(TypicalLogitsWarper(config.typical_p))
        return cls(tuple(ends), most, least, config.temperature, LogitsProcessorList(truncation))


@dataclass(frozen=True)
class Drawn:
    """Completions, in the order of their prompts."""

    ids: torch.Tensor
    """(R, T) token ids; after its end a completion has padding."""
    logps: torch.Tensor
    """(R, T) float32 log-probs at the sampling temperature, before truncation; 0 after the end."""


def draw(
    model: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, pad_id: int, device: Any, graphs: bool = False
) -> Drawn:
    """Draws one completion of each prompt; equal prompts are computed once.

    Args:
        prompts: token ids of R prompts.
        graphs: record a step as a CUDA graph and replay it.
    """
    with torch.no_grad():
        known = Prompts.of(prompts)
        cache, logits_PV = prefill(model, known, device)
        rows = Rows(cache, known, logits_PV, sampling, pad_id)
        forward = forward_of(model, cache, max(map(len, known.distinct)) + sampling.most)
        with cache.attention(model):
            _draw_on(forward, rows, sampling, graphs)
        return rows.result()


def _draw_on(forward: Forward, rows: Rows, sampling: Sampling, graphs: bool) -> None:
    """Draws all tokens after the first."""
    done, stretch = 1, GRAPH_STRETCH if graphs else STRETCH
    look = LOOK if rows.steady else 1
    while done < sampling.most and rows.leave():
        now = min(stretch, sampling.most - done)
        rows.cache.reserve(now)
        step = recorded(rows.step, forward) if graphs else lambda: rows.step(forward)
        for n in range(1, now + 1):
            step()
            if n % look:
                continue
            going = rows.going()
            if not going:
                return
            if not rows.steady and going <= FEWER * len(rows.finished):
                rows.leave()
        done, stretch = done + now, 2 * stretch


class Rows:
    """The completions that are being drawn, sorted by their prompts. All tensors keep their places from `leave` to
    `leave`.

    Args:
        logits_PV: of the first tokens after the distinct prompts.
    """

    def __init__(
        self, cache: SharedCache, prompts: Prompts, logits_PV: torch.Tensor, sampling: Sampling, pad_id: int
    ) -> None:
        device, count = logits_PV.device, len(prompts.order)
        prompt_R = torch.tensor(prompts.numbers, device=device)
        self.cache, self.sampling, self.steady = cache, sampling, cache.place.steady
        self.ids = torch.full((count, sampling.most), pad_id, device=device)
        self.logps = torch.zeros((count, sampling.most), device=device)
        self.result_ids, self.result_logps = self.ids.clone(), self.logps.clone()
        self.number = torch.tensor(prompts.order, device=device)
        self.finished = torch.zeros(count, dtype=torch.bool, device=device)
        self.lengths = torch.tensor([len(ids) for ids in prompts.distinct], device=device)[prompt_R]
        self.chance = self.logps  # not used when greedy
        if sampling.temperature:
            self.chance = torch.rand((count, sampling.most), device=device)[self.number]
        self.place = torch.zeros(1, dtype=torch.long, device=device)
        self.ends = torch.zeros(logits_PV.size(-1), dtype=torch.bool, device=device)
        self.ends[list(sampling.ends)] = True
        self.tokens = torch.zeros(count, dtype=torch.long, device=device)
        self._take(logits_PV[prompt_R])

    def _take(self, logits: torch.Tensor) -> None:
        """Draws the tokens at ``place`` from their logits (rows, vocabulary)."""
        sampling, logits = self.sampling, logits.float()
        logps = (logits / (sampling.temperature or 1.0)).log_softmax(-1)
        scores = logps
        if sampling.least:
            scores = scores.masked_fill(self.ends & (self.place < sampling.least), -torch.inf)
        if sampling.temperature:
            scores = sampling.truncation(self.ids, scores)
            tokens = at_chance(scores.softmax(-1), self.chance.index_select(1, self.place))
        else:
            tokens = scores.argmax(-1)
        going = ~self.finished
        padding = self.ids.index_select(1, self.place)[:, 0]
        self.ids.index_copy_(1, self.place, torch.where(going, tokens, padding)[:, None])
        self.logps.index_copy_(1, self.place, logps.gather(1, tokens[:, None]) * going[:, None])
        self.tokens.copy_(tokens)
        self.finished |= self.ends[tokens]

    def step(self, forward: Forward) -> None:
        """Computes the last token of each completion, and draws the next one."""
        self.cache.next_place()
        logits = forward(self.tokens, self.lengths + self.place)
        self.place += 1
        self._take(logits)

    def going(self) -> int:
        """Number of completions that are not finished."""
        return len(self.finished) - int(self.finished.sum())

    def leave(self) -> bool:
        """Takes the finished completions out; returns whether any are left."""
        going = (~self.finished).nonzero()[:, 0]
        if len(going) == len(self.finished):
            return True
        self._keep_result()
        if len(going):
            for name in ("ids", "logps", "number", "finished", "lengths", "chance", "tokens"):
                setattr(self, name, getattr(self, name)[going])
            self.cache.keep(going)
        return len(going) > 0

    def _keep_result(self) -> None:
        self.result_ids[self.number], self.result_logps[self.number] = self.ids, self.logps

    def result(self) -> Drawn:
        """All completions, those that have left too."""
        self._keep_result()
        ended = self.ends[self.result_ids]
        lengths = torch.where(ended.any(1), ended.int().argmax(1), self.place)
        width = int(lengths.max()) + 1
        return Drawn(self.result_ids[:, :width], self.result_logps[:, :width])


def at_chance(probabilities: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
    """(R,) the token at which the sum of the probabilities passes ``chance``.

    Args:
        probabilities: (R, vocabulary); a token of probability 0 is never drawn.
        chance: (R, 1) uniform in [0, 1).
    """
    sums = probabilities.cumsum(-1)
    all_of_it = sums[:, -1:]
    below = torch.nextafter(all_of_it, torch.zeros_like(all_of_it))  # the product may be rounded up to the whole sum
    found = torch.searchsorted(sums, torch.minimum(chance * all_of_it, below), right=True)[:, 0]
    return found.clamp(max=probabilities.size(-1) - 1)  # past the end only where the probabilities are NaN


def recorded(step: Callable[[Forward], None], forward: Forward) -> Callable[[], None]:
    """``step`` as a CUDA graph: the CPU starts one graph instead of some thousand kernels. The first call runs the step
    as it is, the second records it."""
    graph: Any = None
    calls = 0

    def call() -> None:
        nonlocal graph, calls
        calls += 1
        if calls == 1:  # beside the current stream, where libraries make their workspaces
            side: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                step(forward)
            torch.cuda.current_stream().wait_stream(side)
            return
        if calls == 2:
            graph = record(step, forward)
        if graph is None:
            step(forward)
        else:
            graph.replay()

    return call


def record(step: Callable[[Forward], None], forward: Forward) -> Any:
    """The CUDA graph of a step, which is not run; None, with a warning, if the model's layers wait for the GPU."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # NCCL's own thread may ask the GPU meanwhile
            step(forward)
    except RuntimeError as error:
        warnings.warn(
            "drawing is slow, because a step of this model cannot be recorded as a CUDA graph "
            f"({str(error).splitlines()[0]}); share_prompts: false may be faster",
            stacklevel=2,
        )
        return None
    return graph
