"""Errors in one line, for statuses, events and logs."""

from pydantic import ValidationError


def one_line(error: ValidationError) -> str:
    """Field names and what is wrong with each, the first three of them."""
    problems = [
        f"{'.'.join(str(part) for part in each['loc']) or 'document'}: {each['msg']}" for each in error.errors()
    ]
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return " ".join("; ".join(problems[:3]).split()) + more
