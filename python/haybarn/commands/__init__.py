"""The command line's commands: one module each, and this one list of them, in the order that --help shows.

A command module has NAME, HELP, `add_arguments(parser)` and `run(args) -> int` (the exit code).
"""

COMMANDS = ("info", "stress", "replay", "bench")
