"""The last step records, for GET /v1/steps and for what is computed at scrape time."""

from bisect import bisect_left
from dataclasses import fields
from operator import attrgetter

from turbospec.control.step import StepRecord
from turbospec.wire.engine_state import StepsPage

RING_SIZE = 4096
PAGE_ROWS = 256
"""Rows of one answer: serialising thousands would hold the interpreter lock for tens of milliseconds."""

_FIELDS = [field.name for field in fields(StepRecord)]
_values = attrgetter(*_FIELDS)


class StepRing:
    """The newest ``size`` records, ascending by ``seq``.

    One thread appends, any thread reads: records are immutable, a slot is replaced by one reference
    assignment, and a reader
    that is overtaken by the writer loses the overtaken rows, never a row's content.
    """

    def __init__(self, size: int = RING_SIZE) -> None:
        self._slots: list[StepRecord | None] = [None] * size
        self._size = size
        self._appended = 0

    def append(self, record: StepRecord) -> None:
        """O(1)."""
        self._slots[self._appended % self._size] = record
        self._appended += 1

    def newest(self) -> StepRecord | None:
        """None before the first step."""
        appended = self._appended
        return self._slots[(appended - 1) % self._size] if appended else None

    def last(self, count: int) -> list[StepRecord]:
        """At most ``count`` of the newest records, oldest first."""
        end = self._appended
        return self._range(max(0, end - min(count, self._size)), end)

    def since(self, seq: int, limit: int) -> list[StepRecord]:
        """At most ``limit`` records with ``record.seq >= seq``, oldest first."""
        end = self._appended
        start = max(0, end - self._size)
        first = start + bisect_left(range(start, end), seq, key=self._seq_at)
        return self._range(first, min(end, first + limit))

    def page(self, since: int, limit: int) -> StepsPage:
        """The page that GET /v1/steps answers; ``limit`` is cut to PAGE_ROWS."""
        records = self.since(since, max(0, min(limit, PAGE_ROWS)))
        newest = self.newest()
        after = records[-1].seq + 1 if records else min(since, newest.seq + 1 if newest else 0)
        rows = [[list(value) if isinstance(value, tuple) else value for value in _values(record)] for record in records]
        return StepsPage(fields=_FIELDS, rows=rows, next=after)

    def _seq_at(self, position: int) -> int:
        record = self._slots[position % self._size]
        return record.seq if record is not None else 0

    def _range(self, start: int, end: int) -> list[StepRecord]:
        records = [record for i in range(start, end) if (record := self._slots[i % self._size]) is not None]
        # The writer may have replaced the oldest slots meanwhile: keep the ascending tail only.
        for i in range(len(records) - 1, 0, -1):
            if records[i - 1].seq > records[i].seq:
                return records[i:]
        return records
