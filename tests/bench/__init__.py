"""Speed and memory beside ssh, pssh and Ansible: `python -m tests.bench [a b c d]`. A report, no test."""
