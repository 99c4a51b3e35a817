"""The benchmark: uamqp beside its peers on the same work. See README.md."""
