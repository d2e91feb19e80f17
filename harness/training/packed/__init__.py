"""Many adapters on one frozen base at once: their rows side by side in every matrix product."""
