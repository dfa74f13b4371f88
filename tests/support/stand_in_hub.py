"""Random tiny models, tokenizers and data sets under the hub names that TRL's own tests use.

They lie in a hub cache of their own, as a download would leave them, so that ``from_pretrained`` finds them without a
network (``HF_HUB_CACHE`` names the folder, ``HF_HUB_OFFLINE=1``). Shapes are those of TRL's tiny models, the weights
are random, the chat templates are those that TRL ships.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
import trl

from stand_in_tokenizer import END, PAD, build_tokenizer

ORGANISATION = "trl-internal-testing"
REVISION = "0" * 40
SIZES = {
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # name: (class without "ForCausalLM", the chat template that TRL ships, further settings)
    "tiny-Qwen2ForCausalLM-2.5": ("Qwen2", "qwen2_5", {}),
    "tiny-Qwen3ForCausalLM": ("Qwen3", "qwen3", {"head_dim": 8}),
    "tiny-Qwen3MoeForCausalLM": (
        "Qwen3Moe",
        "qwen3",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
            "head_dim": 8,
            "moe_intermediate_size": 32,
        },
    ),
    "tiny-LlamaForCausalLM-3.2": ("Llama", "llama3_2", {}),
    "tiny-MistralForCausalLM-0.2": ("Mistral", "llama3", {"sliding_window": None}),
    "tiny-Gemma2ForCausalLM": ("Gemma2", "gemma", {"head_dim": 4}),
    "tiny-Cohere2ForCausalLM": ("Cohere2", "cohere2", {"logit_scale": 1.0}),
    "tiny-GptOssForCausalLM": ("GptOss", "gptoss", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 4}),
    "tiny-Glm4MoeForCausalLM": (
        "Glm4Moe",
        "glm4moe",
        {
            "moe_intermediate_size": 32,
            "head_dim": 4,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "attention_bias": True,
            "use_qk_norm": True,
        },
    ),
    "tiny-NemotronHForCausalLM-nano": (
        "NemotronH",
        "nemotron_3_nano",
        {
            "hidden_size": 16,
            "layers_block_type": ["mamba", "attention", "moe"],
            "mamba_num_heads": 8,
            "mamba_head_dim": 4,
            "mamba_n_groups": 1,
            "ssm_state_size": 16,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "moe_shared_expert_intermediate_size": 32,
            "use_mamba_kernels": False,
        },
    ),
}
JUDGES = {
    # reward models: name: (class without "ForSequenceClassification", chat template)
    "tiny-Qwen2ForSequenceClassification-2.5": ("Qwen2", "qwen2_5"),
    "tiny-Qwen3ForSequenceClassification": ("Qwen3", "qwen3"),
    "tiny-LlamaForSequenceClassification-3.2": ("Llama", "llama3_2"),
}

REMOTE = {
    "configuration_remote.py": (
        'from transformers import LlamaConfig\n\n\nclass RemoteConfig(LlamaConfig):\n    model_type = "remote"\n'
    ),
    "modeling_remote.py": (
        "from transformers import LlamaForCausalLM\n\nfrom .configuration_remote import RemoteConfig\n\n\n"
        "class RemoteForCausalLM(LlamaForCausalLM):\n    config_class = RemoteConfig\n"
    ),
}
"""The code of ``tiny-RemoteForCausalLM``, which loads with ``trust_remote_code`` only."""


def build_hub(folder: Path) -> None:
    """Fills a hub cache with every stand-in model; what is there already is kept.

    Args:
        folder: what ``HF_HUB_CACHE`` will name.
    """
    for name, (kind, template, settings) in MODELS.items():
        add_model(folder, name, f"{kind}ForCausalLM", template, settings)
    for name, (kind, template) in JUDGES.items():
        add_model(folder, name, f"{kind}ForSequenceClassification", template, {"num_labels": 1})
    add_model(folder, "tiny-RemoteForCausalLM", "LlamaForCausalLM", "llama3_2", {}, needs_code=True)


def add_model(
    folder: Path, name: str, model: str, template: str, settings: dict[str, Any], needs_code: bool = False
) -> None:
    """Writes one model and its tokenizer into a hub cache, unless they are there.

    Args:
        model: a class of transformers.
        template: a chat template that TRL ships.
        settings: of the model's config, beside `SIZES`.
        needs_code: make it one that loads with ``trust_remote_code`` only.
    """
    repository = folder / f"models--{ORGANISATION}--{name}"
    if (repository / "refs" / "main").exists():
        return
    out = repository / "snapshots" / REVISION
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(shipped_template(template))
    special = {"pad_token_id": PAD, "eos_token_id": END, "bos_token_id": PAD}
    kind = getattr(transformers, model)
    made = kind(kind.config_class(**{**SIZES, "vocab_size": len(tokenizer), **special, **settings}))
    randomise(made)
    made.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    if made.can_generate():
        transformers.GenerationConfig(do_sample=True, **{**special, "eos_token_id": [END, PAD]}).save_pretrained(out)
    if needs_code:
        add_code(out)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)


def add_code(out: Path) -> None:
    """Makes a saved Llama one whose classes come with it."""
    config = json.loads((out / "config.json").read_text())
    classes = {
        "AutoConfig": "configuration_remote.RemoteConfig",
        "AutoModelForCausalLM": "modeling_remote.RemoteForCausalLM",
    }
    config |= {"model_type": "remote", "architectures": ["RemoteForCausalLM"], "auto_map": classes}
    (out / "config.json").write_text(json.dumps(config))
    for name, code in REMOTE.items():
        (out / name).write_text(code)


def shipped_template(name: str) -> str:
    """One of the chat templates in the installed TRL, by its name there."""
    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def randomise(model: torch.nn.Module) -> None:
    """Weights that are large enough for a gradient: with transformers' own, eight dimensions give almost none."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if isinstance(module, torch.nn.Embedding):
                torch.nn.init.normal_(weight, std=0.02, generator=generator)
            elif weight.dim() > 1:
                torch.nn.init.xavier_uniform_(weight, generator=generator)
            elif name.endswith("bias"):
                torch.nn.init.zeros_(weight)
