"""Settings for the brain's tests."""

from hypothesis import settings

# Deadlines measure the machine, not the property: other work shares its cores.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
