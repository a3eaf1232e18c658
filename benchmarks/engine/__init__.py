"""What the runtime costs an engine; real vLLM code, no model. ``python -m benchmarks.engine.host_time``."""
