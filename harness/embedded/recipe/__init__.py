"""The pretraining of the embedded base model; not part of the wheel."""
