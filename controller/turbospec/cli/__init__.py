"""The command line, ``turbospec``."""
