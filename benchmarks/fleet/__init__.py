"""Judges a fleet under a HorizontalPodAutoscaler, against the targets of docs/benchmarks.md."""
