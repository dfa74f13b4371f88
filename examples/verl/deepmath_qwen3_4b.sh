#!/usr/bin/env bash
# P²O on stock verl 0.9 with the paper's settings: Qwen3-4B, 5,000 DeepMath samples, one node of eight GPUs.
#
#   pip install '.[verl]' vllm==0.24.0                     in the checkout; see docs/verl.md
#   p2o data deepmath --size 5000                          writes data/deepmath-7/
#   vllm serve Qwen/Qwen3-4B --port 8100 --default-chat-template-kwargs '{"enable_thinking": false}'
#                                                          the reflector ("self" of the paper), on a GPU of its own
#   examples/verl/deepmath_qwen3_4b.sh [more overrides]
#
# The first block is a verl user's own command, the second is P²O. Thinking is off everywhere, as in the reference.
# This script has not been run: there was no such machine.
set -euo pipefail
model=${MODEL:-Qwen/Qwen3-4B}
data=${DATA:-data/deepmath-7}
reflector=${REFLECTOR_URL:-http://localhost:8100/v1}
here=$(cd "$(dirname "$0")" && pwd)

verl=(
    algorithm.adv_estimator=grpo
    data.train_files="$data/train_5000.parquet"
    data.val_files="$data/dev_500.parquet"
    data.train_batch_size=128
    data.max_prompt_length=4096
    data.max_response_length=12288
    data.seed=42
    +data.apply_chat_template_kwargs.enable_thinking=False    # Qwen3's thinking is off, as in the reference
    actor_rollout_ref.model.path="$model"
    actor_rollout_ref.model.enable_gradient_checkpointing=True
    actor_rollout_ref.model.use_remove_padding=True
    actor_rollout_ref.actor.optim.lr=1e-6
    actor_rollout_ref.actor.optim.lr_warmup_steps_ratio=0.05
    actor_rollout_ref.actor.ppo_mini_batch_size=64
    actor_rollout_ref.actor.use_dynamic_bsz=True
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=32768
    actor_rollout_ref.actor.use_kl_loss=False
    actor_rollout_ref.actor.entropy_coeff=0
    actor_rollout_ref.rollout.name=vllm
    actor_rollout_ref.rollout.n=6
    actor_rollout_ref.rollout.temperature=0.6
    actor_rollout_ref.rollout.tensor_model_parallel_size=1
    actor_rollout_ref.rollout.gpu_memory_utilization=0.7
    actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=True
    actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=32768
    reward.custom_reward_function.path="$here/reward.py"
    trainer.n_gpus_per_node=8
    trainer.nnodes=1
    trainer.total_epochs=10
    trainer.save_freq=30
    trainer.test_freq=30
    trainer.project_name=p2o
    trainer.experiment_name=deepmath_qwen3_4b
    trainer.default_local_dir=runs/verl/deepmath_qwen3_4b
)
p2o=(
    trainer.v1.trainer_mode=p2o
    +p2o.distillation=mask
    +p2o.reflector=openai
    +p2o.reflector_model="$model"
    +p2o.reflector_base_url="$reflector"
    +p2o.reflector_temperature=0.6
    +p2o.reflector_max_tokens=2048
    +p2o.reflect_max_prompt_chars=90000
)
exec python -m verl.trainer.main_ppo "${verl[@]}" "${p2o[@]}" "$@"
