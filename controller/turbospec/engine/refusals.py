"""Refused requests: a code for machines, a sentence for people, an HTTP status."""

from http import HTTPStatus

from turbospec.wire.control_document import ControlRefusal

STATUS_OF_CODE = {
    "BadJson": HTTPStatus.BAD_REQUEST,
    "BadRequest": HTTPStatus.BAD_REQUEST,
    "Invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "NotAllowed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "UnknownVersion": HTTPStatus.UNPROCESSABLE_ENTITY,
    "TooLarge": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "StaleEpoch": HTTPStatus.CONFLICT,
    "Unsupported": HTTPStatus.CONFLICT,
    "Unauthorized": HTTPStatus.UNAUTHORIZED,
    "NoToken": HTTPStatus.FORBIDDEN,
    "NotFound": HTTPStatus.NOT_FOUND,
    "LengthRequired": HTTPStatus.LENGTH_REQUIRED,
    "Failed": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class RequestRefusedError(Exception):
    """Nothing was changed; ``code`` is a key of STATUS_OF_CODE."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status that goes with the code."""
        return STATUS_OF_CODE[self.code]

    def as_wire(self) -> ControlRefusal:
        """The body of the answer."""
        return ControlRefusal(code=self.code, message=self.message[:2000])
