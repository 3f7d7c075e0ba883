"""The jobs, one module each, and the `holystone` command."""

NO_HOST = "no host configured: set HOLYSTONE_HOSTS"
