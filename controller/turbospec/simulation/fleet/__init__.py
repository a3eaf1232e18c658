"""A fleet of simulated engines behind a load balancer and a HorizontalPodAutoscaler."""
