"""Clients' connections: listening, HTTP/1.1 within limits, answers in few writes, an end that loses nobody."""
