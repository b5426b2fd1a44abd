"""The contract as a suite that anybody runs on an operator: `check_pooling`."""

from polypool.testing.report import ConformanceError, Report, Result
from polypool.testing.suite import check_names, check_pooling

__all__ = ["ConformanceError", "Report", "Result", "check_names", "check_pooling"]
