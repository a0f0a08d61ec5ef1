"""What requests came to: one request settled, and the threads that write it down."""
