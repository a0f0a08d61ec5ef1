"""Circuit breaker and fallback levels: an answer for every request, and the reason for it."""
