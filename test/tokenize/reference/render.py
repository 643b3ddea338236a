"""Renders chat templates as transformers' apply_chat_template does, for tests.

Reads one JSON object a line and answers one a line, in order:
  {"add": ID, "template": TEXT}                      -> {} or {"error": WHY}
  {"render": ID, "variables": {...}, "now": SECONDS} -> {"text": TEXT} or {"error": WHY}
  {"format": ID}                                     -> the tree's loops, see content_formats
  {"tojson": VALUE}                                  -> {"text": TEXT}
The environment is the one of transformers.utils.chat_template_utils: sandboxed, blocks trimmed, loop controls, the tag
`generation`, a tojson that escapes nothing, raise_exception and strftime_now.
"""

import datetime
import json
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from content_format import content_formats


class Generation(jinja2.ext.Extension):
    """The tag `generation`, which marks an assistant's words and prints them as they are."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class Renderer:
    def __init__(self):
        self.now = datetime.datetime(2026, 1, 2, 3, 4, 5)
        self.templates = {}
        self.environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
        )
        self.environment.filters["tojson"] = tojson
        self.environment.globals["raise_exception"] = raise_exception
        self.environment.globals["strftime_now"] = lambda form: self.now.strftime(form)

    def answer(self, question):
        if "add" in question:
            template = self.environment.from_string(question["template"])
            self.templates[question["add"]] = (question["template"], template)
            return {}
        if "format" in question:
            text = self.templates[question["format"]][0]
            return content_formats(self.environment.parse(text))
        if "tojson" in question:
            return {"text": tojson(question["tojson"])}
        if "now" in question:
            self.now = datetime.datetime.fromtimestamp(question["now"])
        text = self.templates[question["render"]][1].render(**question["variables"])
        text.encode()
        return {"text": text}


def main():
    renderer = Renderer()
    for line in sys.stdin:
        try:
            answer = renderer.answer(json.loads(line))
        except Exception as error:  # whatever a template does is an answer
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


main()
