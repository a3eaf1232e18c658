"""TurboSpec: goodput-optimal speculative decoding for vLLM fleets on Kubernetes."""

__version__ = "0.1.0"
