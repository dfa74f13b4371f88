"""P²O on stock verl (0.9): an agent loop and a trainer that verl finds by its plug-in entry point. See docs/verl.md.

    python -m verl.trainer.main_ppo trainer.v1.trainer_mode=p2o +p2o.tau=2 …

Nothing here is imported by the rest of the package, and importing this module alone does not import verl.
"""

NAME = "p2o"
"""Under which the trainer and the agent loop are registered with verl."""
