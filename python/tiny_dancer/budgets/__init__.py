"""Budgets: what may be spent, reserved before it is spent, by any number of threads and processes together."""
