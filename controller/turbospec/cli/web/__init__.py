"""``turbospec dashboard``: policies, engines and profiles as a read-only web page on the user's own machine."""
