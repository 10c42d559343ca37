"""The verbs of the command, one file each, with a function ``run(arguments)``.

To add one: a file here, and its line in ``aepretrain.cli.main.VERBS``.
"""
