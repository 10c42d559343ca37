"""The command-line interface: verbs, configs, their error messages, and terminal output."""
