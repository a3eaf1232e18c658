"""The only place where bytes become types: custom resources, control documents, engine state."""
