"""``turbospec sim serve``: stands in for vLLM pods over HTTP, with the engine's own control protocol and loop over
simulated steps."""
