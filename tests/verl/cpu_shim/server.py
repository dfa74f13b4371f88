"""A rollout server on transformers: batches what is asked at the same time, and samples reproducibly.

Writes what it was asked to $CPU_SHIM_LOG: one JSON line per request (prompt ids, weight version, sum of its
weights, number of tokens of the answer). An answer has at most
$CPU_SHIM_MAX_TOKENS tokens, a whole response by default.
"""

import asyncio
import hashlib
import json
import os
from collections import Counter

import ray
import torch
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

WINDOW = 0.02  # seconds in which requests come together


class ServerAdapter(BaseRollout):
    """In a training worker: hands the weights over to the server of its rank."""

    async def resume(self, tags): ...

    async def release(self): ...

    async def update_weights(self, weights, wire_format="named_tensors", global_steps=None, **kwargs):
        state = {
            name: (w.full_tensor() if hasattr(w, "full_tensor") else w).detach().cpu().clone() for name, w in weights
        }
        await ray.get_actor(f"cpu_hf_server_{os.environ.get('RANK', 0)}").load.remote(state, global_steps)


@ray.remote(num_cpus=1, max_concurrency=1000)
class Server:
    def __init__(self, path, response_length):
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.eos = self.model.generation_config.eos_token_id
        self.response_length = response_length
        self.steps, self.sum = None, 0.0
        self.asked = Counter()
        self.waiting = []

    async def load(self, state, steps):
        found = self.model.load_state_dict(state, strict=False)
        assert not found.unexpected_keys, found
        self.steps = steps
        self.sum = sum(p.double().abs().sum().item() for p in self.model.parameters())
        self.asked.clear()

    async def wake_up(self, *args, **kwargs): ...

    async def sleep(self): ...

    async def resume_generation(self): ...

    async def clear_kv_cache(self): ...

    async def generate(self, request_id, *, prompt_ids, sampling_params, **kwargs):
        temperature = float(sampling_params.get("temperature", 1.0))
        longest = os.environ.get("CPU_SHIM_MAX_TOKENS", self.response_length)
        limit = int(sampling_params.get("max_tokens", longest))
        # Same weights, same prompt, the n-th time: same completion, whatever else is in the batch.
        place = repr((self.steps, temperature, list(prompt_ids)))
        seed = hashlib.sha256(f"{place}{self.asked[place]}".encode()).digest()
        self.asked[place] += 1
        done = asyncio.get_running_loop().create_future()
        self.waiting.append((list(prompt_ids), temperature, limit, int.from_bytes(seed[:7], "big"), done))
        if len(self.waiting) == 1:
            await asyncio.sleep(WINDOW)
            batch, self.waiting = self.waiting, []
            for (*_, future), result in zip(batch, self._sample(batch), strict=True):
                future.set_result(result)
        ids, logps = await done
        if log := os.environ.get("CPU_SHIM_LOG"):
            asked = {"prompt_ids": list(prompt_ids), "temperature": temperature, "server": os.getpid()}
            line = asked | {"steps": self.steps, "sum": self.sum}
            with open(log, "a") as file:
                file.write(json.dumps(line | {"generated": len(ids)}) + "\n")
        return TokenOutput(
            token_ids=ids, log_probs=logps, stop_reason="completed", extra_fields={"global_steps": self.steps}
        )

    @torch.no_grad()
    def _sample(self, batch):
        width = max(len(prompt) for prompt, *_ in batch)
        ids = torch.tensor([[0] * (width - len(p)) + p for p, *_ in batch])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p, *_ in batch])
        generators = [torch.Generator().manual_seed(seed) for *_, seed, _ in batch]
        done_ids, done_logps = [[] for _ in batch], [[] for _ in batch]
        alive, cache, step_ids = set(range(len(batch))), None, ids
        while alive:
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -step_ids.size(1) :]
            out = self.model(
                step_ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            cache = out.past_key_values
            chosen = []
            for row, (_, temperature, limit, _, _) in enumerate(batch):
                logps = (out.logits[row, -1].float() / (temperature or 1.0)).log_softmax(-1)
                noise = 0.0
                if temperature:
                    noise = -torch.empty_like(logps).exponential_(generator=generators[row]).log()
                token = int((logps + noise).argmax())
                chosen.append(token)
                if row in alive:
                    done_ids[row].append(token)
                    done_logps[row].append(float(logps[token]))
                    if token == self.eos or len(done_ids[row]) >= limit:
                        alive.discard(row)
            step_ids = torch.tensor(chosen)[:, None]
            mask = torch.cat([mask, torch.ones_like(step_ids)], 1)
        return list(zip(done_ids, done_logps, strict=True))


class CPUReplica(RolloutReplica):
    async def launch_servers(self):
        name = f"cpu_hf_server_{self.replica_rank}"
        server = Server.options(name=name).remote(self.model_config.path, self.config.response_length)
        await server.sleep.remote()
        self.servers, self._server_handle, self._server_address = [server], server, f"cpu:{self.replica_rank}"
