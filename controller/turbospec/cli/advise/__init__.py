"""``turbospec advise``: what TurboSpec would have done, from a Prometheus that scrapes stock vLLM."""
