"""What must outlive the process: candidates, routing history, outcomes and feedback. The only SQL."""
