"""The report: one page that shows runs' scores beside the published ones, and answers the paper's four claims from them.

`make_report` is the way in. `published` holds the paper's figures, `claims` the rules of the answers.
"""

from culturecare_harness.report.making import make_report

__all__ = ["make_report"]
