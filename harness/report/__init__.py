"""Tables of a study -> one self-contained HTML page. Knows nothing of training or databases."""
