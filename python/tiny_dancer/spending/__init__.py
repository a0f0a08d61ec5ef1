"""What follows from a history of requests: when a budget runs out, and how to spend a month's best.

The mathematics is in ``evaluation/``; here the store is read and questions are answered in USD and dates.
"""

from tiny_dancer.spending.forecast import BudgetForecast, forecast_budget
from tiny_dancer.spending.optimize import BudgetPlan, optimize_budget

__all__ = ["BudgetForecast", "BudgetPlan", "forecast_budget", "optimize_budget"]
