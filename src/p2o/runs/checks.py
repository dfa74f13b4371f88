"""Settings that would have no effect, or fail only after a model was loaded: refused when a recipe is read."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..base.spelling import nearest
from ..errors import ConfigError

if TYPE_CHECKING:
    from trl import ModelConfig

    from ..trl.config import P2OConfig

# Without effect

OUR_EVALUATION = "evaluations here draw completions and count successes; HF's evaluation loop plays no part"
NO_EFFECT = {
    "label_smoothing_factor": "GRPO's loss has no labels",
    "label_names": "GRPO's loss has no labels",
    "train_sampling_strategy": "GRPO draws the groups itself; see shuffle_dataset",
    "length_column_name": "GRPO draws the groups itself",
    "data_seed": "the order of the samples follows from seed",
    "dataloader_drop_last": "only whole batches of rollouts are drawn",
    "include_num_input_tokens_seen": "the tokens are counted by p2o/cost",
    "prediction_loss_only": OUR_EVALUATION,
    "eval_do_concat_batches": OUR_EVALUATION,
    "eval_use_gather_object": OUR_EVALUATION,
    "eval_accumulation_steps": OUR_EVALUATION,
    "include_for_metrics": OUR_EVALUATION,
    "batch_eval_metrics": OUR_EVALUATION,
    "bf16_full_eval": OUR_EVALUATION,
    "fp16_full_eval": OUR_EVALUATION,
    "do_predict": "p2o eval evaluates a model",
    "local_rank": "the launcher gives it to each process",
    "log_multimodal": "a recipe's data has no images",
    "enable_jit_checkpoint": "a checkpoint is saved on SIGTERM anyhow",
    "ignore_data_skip": "a resumed run continues with the samples that are next",
    "use_transformers_paged": "its name is use_transformers_continuous_batching now",
    "vllm_importance_sampling_cap": "its name is vllm_importance_sampling_clip_max now",
}
"""Keys of TRL's configuration that would be accepted and then ignored, and why. Other values than the default are
refused."""


def check_effects(training: P2OConfig, given: Container[str], has_tools: bool = False) -> None:
    """Refuses settings that would have no effect.

    Args:
        given: the keys that the recipe or the command line sets.
        has_tools: whether the recipe names tools or an environment.

    Raises:
        ConfigError: there is one.
    """
    without = dict(NO_EFFECT)
    if not training.eval_sampled:
        without["per_device_eval_batch_size"] = "evaluations draw evolve_batch_size completions at a time"
    if not has_tools:
        of_tools = ("max_tool_calling_iterations", "tool_timeout")
        without |= dict.fromkeys(of_tools, "the recipe names no tools and no environment")
    defaults = {f.name: f.default for f in fields(training)}
    for key, why in without.items():
        if key in given and getattr(training, key) != defaults[key]:
            raise ConfigError(f"{key} has no effect here: {why}; remove it")


def check_adapter(model: ModelConfig) -> None:
    """Refuses settings of LoRA and of quantized weights that cannot be trained.

    Raises:
        ConfigError: there is one.
    """
    if (model.load_in_4bit or model.load_in_8bit) and not model.use_peft:
        raise ConfigError(
            "load_in_4bit and load_in_8bit train an adapter on quantized weights; set use_peft to true too"
        )
    if model.use_peft and model.lora_task_type != "CAUSAL_LM":
        raise ConfigError(f"lora_task_type is {model.lora_task_type!r}; a policy is CAUSAL_LM")


# Out of range

RANGES: Sequence[tuple[str, float, float]] = (
    ("temperature", 0.01, 100), ("test_draws", 0, 10**6), ("top_p", 0.001, 1), ("top_k", 0, 10**9), ("min_p", 0, 1),
    ("repetition_penalty", 0.01, 100), ("max_completion_length", 1, 10**9), ("num_iterations", 1, 10**6),
    ("per_device_train_batch_size", 1, 10**9), ("gradient_accumulation_steps", 1, 10**9),
    ("steps_per_generation", 1, 10**9), ("generation_batch_size", 1, 10**9), ("per_device_eval_batch_size", 1, 10**9),
    ("num_generations", 2, 10**6), ("num_generations_eval", 1, 10**6), ("num_train_epochs", 0, 10**6),
    ("max_train_samples", 1, 10**12), ("seed", 0, 2**32 - 1), ("processes", 1, 10**6),
    ("lora_r", 1, 10**6), ("lora_dropout", 0, 0.999), ("logging_steps", 0, 10**12), ("save_steps", 0, 10**12),
    ("eval_steps", 0, 10**12), ("save_total_limit", 1, 10**9), ("dataloader_num_workers", 0, 10**4),
    ("max_grad_norm", 0, 10**12), ("evolve_max_iterations", 1, 10**9), ("evolve_patience", 1, 10**9),
    ("max_cost", 1, 10**30),
    ("max_rollouts", 1, 10**18), ("adam_epsilon", 1e-30, 1), ("neftune_noise_alpha", 0, 10**6),
    ("pad_to_multiple_of", 1, 10**6), ("evolve_temperature", 0, 100), ("eval_temperature", 0, 100),
    ("reflect_temperature", 0, 100), ("reflect_max_prompt_chars", 1, 10**9), ("reflector_concurrency", 1, 10**4),
    ("reflector_temperature", 0, 100), ("reflector_max_tokens", 1, 10**9), ("reflector_timeout", 0.001, 10**6),
    ("reflector_retries", 0, 10**4), ("reflector_max_phrases", 1, 10**6), ("policy_timeout", 0.001, 10**6),
    ("beta", 0, 10**9), ("epsilon", 0, 10**9), ("epsilon_high", 0, 10**9), ("weight_decay", 0, 10**9),
    ("top_entropy_quantile", 0, 1), ("lora_alpha", 1, 10**9), ("tool_timeout", 0, 10**6),
    ("max_tool_calling_iterations", 0, 10**9),
)  # fmt: skip
"""(key, least, largest) of numbers that fail late, or say nothing, when they are out of range."""


def check_ranges(values: Sequence[Mapping[str, Any]]) -> None:
    """Checks numbers whose ranges TRL and transformers leave to a later failure.

    Args:
        values: the values that were given, by key.

    Raises:
        ConfigError: one is out of range.
    """
    for key, least, largest in RANGES:
        for given in values:
            value = given.get(key)
            if isinstance(value, int | float) and not least <= value <= largest:
                span = f"from {least:g} to {largest:g}" if largest < 10**6 else f"at least {least:g}"
                raise ConfigError(f"{key} is {value:g}; it must be {span}")


# Unknown names

CHOICES = {
    "importance_sampling_level": ("token", "sequence"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "scale_rewards": ("group", "batch", "none"),
    "vllm_mode": ("colocate", "server"),
    "vllm_model_impl": ("vllm", "transformers"),
    "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
}
"""The values of text keys that TRL looks at only when it trains."""


def check_choices(training: P2OConfig) -> None:
    """Checks names that TRL and transformers look at late, or never.

    Raises:
        ConfigError: there is no such name.
    """
    for key, choices in CHOICES.items():
        if getattr(training, key) not in choices:
            raise ConfigError(f"{key} is {getattr(training, key)!r}; it must be one of {', '.join(choices)}")
    if training.generation_kwargs and not training.use_vllm:
        from transformers import GenerationConfig

        known = vars(GenerationConfig())
        for key in training.generation_kwargs:
            if key not in known:
                raise ConfigError(f"generation_kwargs has an unknown key {key!r}{nearest(key, known)}")
    if not str(training.output_dir).strip():
        raise ConfigError("output_dir is empty; name a folder")
