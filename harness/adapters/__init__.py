"""LoRA adapters by variant: attached to a base model, removed, saved and verified."""
