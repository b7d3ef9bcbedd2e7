"""What a person reads of a run: the HTML report, tables for the terminal, and pages of results."""

from recmtl.report.report import ExpertUse, ReportInput, write_report
from recmtl.report.tables import model_table, verdict_table

__all__ = ["ExpertUse", "ReportInput", "model_table", "verdict_table", "write_report"]
