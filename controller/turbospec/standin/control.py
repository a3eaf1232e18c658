"""The control port of a stand-in: the engine's own requests and answers over aiohttp."""

import asyncio

from aiohttp import web

from turbospec.engine.control_requests import Answer, ControlRequests, refusal_answer
from turbospec.engine.refusals import RequestRefusedError

BODY_SECONDS = 5.0
"""A client that sends its body more slowly is cut off, as by a real engine."""


async def control(requests: ControlRequests, request: web.BaseRequest) -> web.Response:
    """The answer to any request on the control port."""
    try:
        answer = await _answer(requests, request)
    except RequestRefusedError as refusal:
        answer = refusal_answer(refusal)
    response = web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type})
    if answer.status >= 400:
        # Of a refused body nothing was read: what is left of it must not be taken for the next request.
        response.force_close()
    return response


async def _answer(requests: ControlRequests, request: web.BaseRequest) -> Answer:
    authorization = request.headers.get("Authorization", "")
    if request.method == "GET":
        return requests.get(request.raw_path, authorization)
    if request.method != "PUT":
        raise RequestRefusedError("NotFound", f"nothing answers {request.method}")
    length = requests.admit(request.raw_path, authorization, request.headers.get("Content-Length", ""))
    try:
        body = await asyncio.wait_for(request.content.readexactly(length), BODY_SECONDS)
    except (asyncio.IncompleteReadError, TimeoutError) as error:
        raise RequestRefusedError("BadJson", "the body ended before its Content-Length") from error
    return requests.put(body)
