"""Commands about what runs in a cluster: ``status``, ``explain``, ``diagnose``, ``pause`` and ``resume``."""
