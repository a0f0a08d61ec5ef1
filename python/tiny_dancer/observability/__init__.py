"""What operators see of a running gateway: metrics, traces, logs."""
