"""Trains LoRA adapters on one frozen base model and scores what they write."""
