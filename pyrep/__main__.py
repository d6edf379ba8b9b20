"""`python -m pyrep`: the command line."""

from pyrep.cli import main

if __name__ == "__main__":
    main(prog_name="python -m pyrep")
