"""The engine-loop brain: which draft length K makes the coming step deliver most tokens per second.

Pure: no I/O, no clock, no vLLM, no Kubernetes. The same code decides in a serving engine, in the operator and in tests.
"""
