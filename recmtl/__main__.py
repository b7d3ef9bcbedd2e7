"""`python -m recmtl` is the command `recmtl`."""

from recmtl.command.main import start

if __name__ == "__main__":
    start()
