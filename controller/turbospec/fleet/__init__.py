"""The fleet-loop brain: ``decide(snapshot, memory) -> (effects, memory)``. Pure: no I/O, no clock, no framework."""
