"""What the runtime costs an engine, and what it brings. ``make bench-engine``, ``make bench-closed-loop``."""
