"""`python -m watchword.zero`: the commands by themselves."""

from watchword.zero.commands import zero_app

if __name__ == "__main__":
    zero_app(prog_name="watchword zero")
