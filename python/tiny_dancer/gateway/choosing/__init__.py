"""What a request asks, which model it goes to, and which next."""
