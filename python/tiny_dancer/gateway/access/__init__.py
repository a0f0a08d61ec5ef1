"""Who may call, how often and for how much: keys, budgets, rates."""
