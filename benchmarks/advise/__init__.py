"""Is the interval of ``turbospec advise`` right? Simulated fleets, scraped as Prometheus would, and run again."""
