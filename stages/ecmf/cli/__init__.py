"""The command `ecmf`, one file per subcommand, and `stage`, the entry point of DVC's scripts.

It handles arguments, printing and exit codes; other packages do the work.
"""
