"""What the server tells its operators: structured logs, metrics, traces."""

from watchword.telemetry.counters import BUCKETS, Tally, count, observe, own_tally
from watchword.telemetry.logs import Lines, Log, clean, log

__all__ = ["BUCKETS", "Lines", "Log", "Tally", "clean", "count", "log", "observe", "own_tally"]
