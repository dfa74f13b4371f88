"""An engine with vLLM's interface as TRL 1.16 uses it, colocated (`LLM`) and served (`VLLMClient`).

It samples from its own copy of the weights, which changes only when TRL sends new ones, and reports log-probs that are
off by a known amount, as another implementation's would be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import transformers
from trl.generation import vllm_generation

MISMATCH = 0.02
"""log π(y_t) − reported log π(y_t) of the token at place t (from 0) is (t + 1) times this."""


@dataclass
class Call:
    prompts: list[list[int]]
    n: int
    temperature: float
    max_tokens: int
    weights: dict[str, torch.Tensor]
    """The engine's, when it was called."""


@dataclass
class Engine:
    """What both interfaces stand on."""

    source: str
    calls: list[Call] = field(default_factory=list)
    resets: int = 0

    def __post_init__(self) -> None:
        self.model = transformers.AutoModelForCausalLM.from_pretrained(self.source).eval()
        self.config = self.model.generation_config
        self.pad = transformers.AutoTokenizer.from_pretrained(self.source).pad_token_id

    def load(self, weights: Any) -> None:
        state = self.model.state_dict()
        with torch.no_grad():
            for name, value in weights:
                state[name].copy_(value)

    @torch.no_grad()
    def sample(self, prompts: list[list[int]], n: int, temperature: float, max_tokens: int) -> tuple[list, list]:
        """(completions, reported log-probs), the n of a prompt together."""
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.calls.append(Call([list(p) for p in prompts], n, temperature, max_tokens, weights))
        rows = [p for p in prompts for _ in range(n)]
        width = max(map(len, rows))
        ids = torch.tensor([[self.pad] * (width - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        output = self.model.generate(
            ids,
            attention_mask=mask,
            do_sample=temperature > 0,
            temperature=temperature or None,
            top_k=None,
            top_p=None,
            max_new_tokens=max_tokens,
            pad_token_id=self.pad,
        )
        completions, logps = [], []
        for row, whole in zip(rows, output[:, width:].tolist(), strict=True):
            stop = [t for t, token in enumerate(whole) if token == self.config.eos_token_id]
            completion = whole[: stop[0] + 1] if stop else whole
            table = self.model(torch.tensor([[*row, *completion]])).logits[0, len(row) - 1 : -1]
            table = (table.float() / (temperature or 1.0)).log_softmax(-1)
            logps.append([table[t, token].item() - (t + 1) * MISMATCH for t, token in enumerate(completion)])
            completions.append(completion)
        return completions, logps


class LLM:
    """``vllm.LLM``."""

    made: ClassVar[list[LLM]] = []

    def __init__(self, model: str, **settings: Any) -> None:
        self.engine = Engine(model)
        self.settings = settings
        runner = SimpleNamespace(model=SimpleNamespace(load_weights=self.engine.load))
        executor = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner))
        self.llm_engine = SimpleNamespace(model_executor=executor)
        LLM.made.append(self)

    def reset_prefix_cache(self) -> None:
        self.engine.resets += 1

    def generate(self, prompts: list[dict], sampling_params: Any, use_tqdm: bool) -> list[Any]:
        ids = [prompt["prompt_token_ids"] for prompt in prompts]
        assert sampling_params.n == 1
        completions, logps = self.engine.sample(ids, 1, sampling_params.temperature, sampling_params.max_tokens)
        outputs = []
        for prompt, tokens, row in zip(ids, completions, logps, strict=True):
            places = [{t: SimpleNamespace(logprob=p, rank=1)} for t, p in zip(tokens, row, strict=True)]
            one = SimpleNamespace(token_ids=tokens, logprobs=places)
            outputs.append(SimpleNamespace(prompt_token_ids=prompt, outputs=[one]))
        return outputs


class VLLMClient:
    """``trl.generation.vllm_client.VLLMClient``, with the server in the same process."""

    source = ""
    made: ClassVar[list[VLLMClient]] = []

    def __init__(self, base_url: str, group_port: int, connection_timeout: float) -> None:
        self.engine = Engine(self.source)
        VLLMClient.made.append(self)

    def init_communicator(self, device: Any) -> None: ...

    def get_server_info(self) -> dict[str, Any]:
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def update_named_params(self, metadata: Any, weights: Any) -> None:
        self.engine.load(weights)

    def reset_prefix_cache(self) -> None:
        self.engine.resets += 1

    def generate(
        self, prompts: list[list[int]], features: Any, n: int, temperature: float, max_tokens: int, **more: Any
    ) -> dict[str, Any]:
        completions, logps = self.engine.sample(prompts, n, temperature, max_tokens)
        return {
            "prompt_ids": prompts,
            "completion_ids": completions,
            "logprobs": [[[p] for p in row] for row in logps],
            "logprob_token_ids": [[[t] for t in row] for row in completions],
        }


def install(source: str) -> None:
    """Lets TRL use this engine in this process, as if vLLM were installed."""
    VLLMClient.source = source
    VLLMClient.made, LLM.made = [], []
    vllm_generation.is_vllm_available = lambda: True
    vllm_generation.LLM = LLM
    vllm_generation.SamplingParams = lambda **settings: SimpleNamespace(**settings)
    vllm_generation.VLLMClient = VLLMClient


def engine() -> Engine:
    """The engine that was made last."""
    return (LLM.made + VLLMClient.made)[-1].engine
