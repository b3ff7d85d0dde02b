"""The command `ecmf`, one file per subcommand, and `stage`, the entry point of DVC's scripts.

It handles arguments, printing and exit codes; other packages do the work.
"""

from ecmf.cli.quiet_imports import end_quietly_during_imports

end_quietly_during_imports()
