"""asv's benchmarks; docs/benchmarks.md says how to run them."""
