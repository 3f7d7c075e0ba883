"""How a job reaches a host. Knows nothing of any job."""
