"""What is refused of workflow templates, as errors that name template, parameter, node and input in ``details``."""

from __future__ import annotations

from gates.errors import GatebusError, InvalidInput, NotFound


class InvalidTemplate(InvalidInput):
    """The document is no workflow template: a part is missing, unknown, or of a wrong form."""

    type = "invalid_template"


class InvalidParameter(InvalidInput):
    """A parameter is unknown to the template, missing, or its value is not accepted."""

    type = "invalid_parameter"


class TemplateNotFound(NotFound):
    """The library holds no template of that name."""

    type = "template_not_found"


class NotConvertible(InvalidInput):
    """A workflow as the page saves it can't be made into a prompt without guessing."""

    type = "not_convertible"


class WrongGraph(InvalidInput):
    """The prompt does not fit the nodes of this ComfyUI; ``details["problems"]`` lists where."""

    type = "wrong_graph"


class NotInstalled(GatebusError):
    """An optional library is needed for this and is not installed; the message says how to install it."""

    status = 501
    type = "not_installed"


class NoOutput(GatebusError):
    """The prompt is done and gave no file at the outputs that the template names."""

    status = 502
    type = "no_output"
