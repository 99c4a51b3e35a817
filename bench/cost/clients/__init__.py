"""The programs that are measured: each is a process of its own and prints its figures as JSON."""
