"""P2OTrainer on TRL."""
