"""Between the OpenAI and the Anthropic protocol: requests, answers, streams, errors."""
