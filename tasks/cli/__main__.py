"""`python -m tasks.cli`: the `holystone` command from a checkout that isn't installed."""

from tasks.cli import main

main(prog_name="holystone")
