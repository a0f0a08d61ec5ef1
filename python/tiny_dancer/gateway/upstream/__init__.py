"""Models' servers: connections, protocols, deployments, and what is tried until one of them serves."""
