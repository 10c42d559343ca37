"""The verbs of the command, one file each, with a function ``run(arguments)``.

To add a verb, add its file here and its line in ``aepretrain.cli.main.VERBS``.
"""
