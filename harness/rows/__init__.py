"""What is done to rows before a task takes them: splits made, rows left out, rows added."""
