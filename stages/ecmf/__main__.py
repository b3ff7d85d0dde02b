"""Run the command `ecmf` as `python -m ecmf`."""

from ecmf.cli.main import main

if __name__ == "__main__":
    main(prog_name="ecmf")
