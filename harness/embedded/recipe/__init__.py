"""How the embedded base model was made."""
