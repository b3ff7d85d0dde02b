"""The command `ecmf`, one file per subcommand, and `stage`, the entry point of DVC's scripts.

Arguments, printing and exit codes are here; the work is done by the packages below.
"""
