"""``turbospec demo``: a simulated fleet under TurboSpec in one process, without a cluster."""
