"""A simulated engine for the real engine loop: every step one at a time, with a truth the loop has to discover.

The step times, texts and arrivals here share no code with the models of ``turbospec.control`` (no inverse crime).
"""
