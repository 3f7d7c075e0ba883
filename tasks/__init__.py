"""One file per job, and the `holystone` command."""
