"""What TurboSpec would have done, from what stock vLLM exports: pure, no I/O and no clock.

Series become windows (``series``), windows say how likely drafts are accepted (``drafting``), and both are replayed
through the goodput prediction of ``turbospec.control`` (``replay``). ``advice`` puts an interval on the result, or
names what is missing.
"""
