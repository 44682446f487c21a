"""What faustc costs beside what people use today; see benchmarks/README.md."""
