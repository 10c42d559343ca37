"""The command: verbs, configs and their errors, the terminal."""
