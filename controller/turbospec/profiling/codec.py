"""A profile as one short line of ASCII, for the termination message of the profiling container.

The kubelet keeps at most 4,096 bytes of it (``message_limit``: fewer in pods of more than three containers) and cuts
the rest off without a word, so a message carries its own length and checksum:

    turbospec-profile/1 <CRC-32 of the payload, 8 hexadecimal digits> <length of the payload> <payload>

The payload is base85 of zlib of compact JSON, cells as columns, because equal values beside each other compress best.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from turbospec.profiling.spread import farthest_first
from turbospec.wire.latency import LatencyCell, LatencyFit
from turbospec.wire.plain_engine import PlainCell
from turbospec.wire.profile_result import MAX_COVERAGE, ProfileResult

TERMINATION_MESSAGE_BYTES = 4096
"""What the kubelet reads of a container's message (``MaxContainerTerminationMessageLength``)."""
POD_MESSAGE_BYTES = 12_288
"""What it keeps of all containers of a pod together (``MaxPodTerminationMessageLogLength``)."""
FAILURE_PREFIX = "turbospec-profile-error:"
MAGIC = "turbospec-profile/"
VERSION = 1
MIN_GROUPS = 4
"""(batch, context, prefill) points below which a profile is no profile: two batches at two contexts."""
KEPT_DIGITS = 3
"""Significant digits of a step time when space is short: 0.5% at worst, far below the noise of a measured median."""
MAX_TEXT = 65_536
MAX_JSON = 1_048_576
"""Bounds on what is decoded, so that a forged message cannot take the reader's memory."""

CELL_FIELDS = ("batch", "context_tokens", "draft_tokens", "prefill_tokens", "microseconds", "samples")
PLAIN_FIELDS = ("batch", "context_tokens", "microseconds", "samples")

Cell = TypeVar("Cell", LatencyCell, PlainCell)


class CodecError(ValueError):
    """The text is no profile, or the profile does not fit; the message is one line that says why."""


class ReportedFailureError(CodecError):
    """The text is the profiling run's own report of why it failed; the message is that reason."""


def message_limit(containers: int) -> int:
    """The bytes that the kubelet keeps of a container's message in a pod of so many containers, init containers
    included, whether or not the others leave any (``normalizeStatus`` of its status manager)."""
    return min(TERMINATION_MESSAGE_BYTES, POD_MESSAGE_BYTES // max(1, containers))


def encode(result: ProfileResult, limit: int = TERMINATION_MESSAGE_BYTES) -> str:
    """The result in at most ``limit`` ASCII characters.

    Lossless where it fits. Else step times lose all but three significant digits; then cells of the plain engine go
    until four are left; then whole (batch, context, prefill) points go, with every K measured there, so that no K is
    ever compared with a missing K=0; then the plain engine's last cells. Points nearest to others go first, and the
    result's ``coverage`` says how many are left. CodecError where fewer than four points (or all, where there are
    fewer) would be left.
    """
    text = _pack(result, result.cells, result.plain.cells if result.plain else ())
    if len(text) <= limit:
        return text
    groups = _groups([_rounded(cell) for cell in result.cells])
    plain = [_rounded(cell) for cell in result.plain.cells] if result.plain else []
    order = farthest_first([(cell.batch, cell.context_tokens) for cell in plain])
    fewest = min(MIN_GROUPS, len(groups))
    for kept, kept_plain in _steps(len(groups), fewest, len(plain)):
        chosen = [cell for _, cells in sorted(groups[:kept], key=lambda group: group[0]) for cell in cells]
        text = _pack(_cut(result, kept, len(groups)), chosen, [plain[index] for index in sorted(order[:kept_plain])])
        if len(text) <= limit:
            return text
    raise CodecError(f"the profile does not fit {limit} characters even with {fewest} measured points: {len(text)}")


def encode_failure(reason: str, limit: int = TERMINATION_MESSAGE_BYTES) -> str:
    """One line that says why there is no profile, which ``decode`` raises as ReportedFailureError."""
    line = " ".join(reason.split()).encode("ascii", "replace").decode()
    return f"{FAILURE_PREFIX} {line}"[:limit]


def decode(text: str) -> ProfileResult:
    """The profile that ``encode`` wrote. CodecError, with one line of reason, for anything else."""
    text = text.strip()
    if text.startswith(FAILURE_PREFIX):
        raise ReportedFailureError(text.removeprefix(FAILURE_PREFIX).strip() or "no reason given")
    document = _unpack(text)
    try:
        document["cells"] = _rows(document["cells"], CELL_FIELDS)
        document["fit"] = dict(zip(LatencyFit.model_fields, document["fit"], strict=True))
        if "plain" in document:
            document["plain"]["cells"] = _rows(document["plain"]["cells"], PLAIN_FIELDS)
        return ProfileResult.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CodecError(f"profile with an invalid value at {where}: {first['msg']}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CodecError(f"profile of an unknown shape: {type(error).__name__} {error}") from error


def _steps(points: int, fewest: int, plain: int) -> Iterator[tuple[int, int]]:
    """How many points, and cells of the plain engine, to keep: what is worth least goes first."""
    few_plain = min(MIN_GROUPS, plain)
    yield from ((points, left) for left in range(plain, few_plain, -1))
    yield from ((left, few_plain) for left in range(points, fewest - 1, -1))
    if few_plain:
        yield fewest, 0


def _pack(result: ProfileResult, cells: Sequence[LatencyCell], plain: Sequence[PlainCell]) -> str:
    document = result.model_dump(mode="json", exclude={"cells", "fit"}, exclude_none=True)
    document["cells"] = {name: [getattr(cell, name) for cell in cells] for name in CELL_FIELDS}
    if result.plain is not None:
        document["plain"]["cells"] = {name: [getattr(cell, name) for cell in plain] for name in PLAIN_FIELDS}
    document["fit"] = [getattr(result.fit, name) for name in LatencyFit.model_fields]
    raw = json.dumps(document, separators=(",", ":")).encode("ascii")
    payload = base64.b85encode(zlib.compress(raw, level=9)).decode("ascii")
    return f"{MAGIC}{VERSION} {zlib.crc32(payload.encode()):08x} {len(payload)} {payload}"


def _rows(columns: dict[str, list[Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]


def _unpack(text: str) -> dict[str, Any]:
    payload = _checked_payload(text)
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(base64.b85decode(payload), MAX_JSON)
        if not inflater.eof:
            raise CodecError(f"profile is cut off or larger than {MAX_JSON} bytes when unpacked")
        document = json.loads(raw)
    except (ValueError, zlib.error, RecursionError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(f"profile cannot be unpacked: {error}") from error
    if not isinstance(document, dict):
        raise CodecError("profile of an unknown shape: not an object")
    return document


def _checked_payload(text: str) -> str:
    """The payload of a message whose version, length and checksum are right."""
    if not text:
        raise CodecError("empty message: the profiling run ended without a word")
    if len(text) > MAX_TEXT:
        raise CodecError(f"message of {len(text)} characters, more than {MAX_TEXT}")
    if not text.startswith(MAGIC):
        raise CodecError(f"not a profile: it starts with {text[:40]!a}")
    version, *rest = text.removeprefix(MAGIC).split(" ")
    if version != str(VERSION):
        raise CodecError(f"profile format {version[:20]!a}, this reader knows {VERSION}")
    if len(rest) != 3:
        raise CodecError("truncated or garbled: the header needs a checksum, a length and a payload")
    checksum, length, payload = rest
    if length != str(len(payload)):
        raise CodecError(f"truncated or garbled: {len(payload)} of {length[:20]!a} payload characters")
    if checksum != f"{binascii.crc32(payload.encode('utf-8', 'replace')):08x}":
        raise CodecError("wrong checksum: the message was altered")
    return payload


def _cut(result: ProfileResult, kept: int, points: int) -> ProfileResult:
    """The result with a word on the points that are left out, where it says what was measured."""
    if result.coverage is None or kept == points:
        return result
    said = f"{result.coverage}; room for {kept}"
    return result.model_copy(update={"coverage": said[:MAX_COVERAGE]})


def _rounded(cell: Cell) -> Cell:
    return cell.model_copy(update={"microseconds": int(float(f"{cell.microseconds:.{KEPT_DIGITS - 1}e}"))})


def _groups(cells: Sequence[LatencyCell]) -> list[tuple[int, list[LatencyCell]]]:
    """Cells by (batch, context, prefill), most telling point first, each with its place of first appearance."""
    by_point: dict[tuple[int, int, int], list[LatencyCell]] = {}
    for cell in cells:
        by_point.setdefault((cell.batch, cell.context_tokens, cell.prefill_tokens), []).append(cell)
    points = list(by_point)
    return [(index, by_point[points[index]]) for index in farthest_first(points)]
