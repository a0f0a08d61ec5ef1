"""Does routing pay? Metrics, baselines, intervals, guarantees, verdicts and reports over arrays.

No text and no artifact is read here: forecasts, decisions and outcomes come in, dataclasses go out.
"""
