"""Frozen base models: loading, memory, heads, and batches of token ids."""
