"""A study's database: Optuna's tables, and ours for what Optuna has no place for."""
