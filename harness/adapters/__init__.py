"""LoRA adapters by variant: put on a base, taken off, saved, and proven to be what they say."""
