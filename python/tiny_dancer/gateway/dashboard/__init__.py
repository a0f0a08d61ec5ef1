"""The dashboard on the operators' port: what is spent, served and decided, for operators."""
