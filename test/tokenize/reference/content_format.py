"""Tells from a template's tree whether vLLM gives a message's content as parts, under the rules of its releases.

Written from the rules of `_detect_content_format` (vllm/entrypoints/chat_utils.py up to 0.15, then vllm/renderers/hf.py):
  direct  a loop over MESSAGE.content, where MESSAGE is the variable of a loop over messages or what they were assigned to
  named   also a loop over a variable that is called content
  macros  also a loop over a macro's parameter that is given MESSAGE.content; one over `content` only outside of macros
"""

from jinja2 import nodes


class Unclear(Exception):
    """Where vLLM's own search breaks off: it then takes the text form."""


def stripped(node):
    """The node without filters, tests and slices around it."""
    while True:
        if isinstance(node, (nodes.Filter, nodes.Test)):
            node = node.node
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            node = node.node
        else:
            return node


def reads(node, name):
    node = stripped(node)
    return isinstance(node, nodes.Name) and node.ctx == "load" and node.name == name


def reads_key(node, name, key):
    node = stripped(node)
    if isinstance(node, nodes.Getitem):
        constant = isinstance(node.arg, nodes.Const) and node.arg.value == key
    else:
        constant = isinstance(node, nodes.Getattr) and node.attr == key
    return constant and isinstance(node.node, nodes.Name) and reads(node.node, name)


def single(target):
    if not isinstance(target, nodes.Name):
        raise Unclear
    return target.name


def message_names(tree):
    lists = ["messages"]
    for name in lists:
        for assign in tree.find_all(nodes.Assign):
            if reads(assign.node, name) and single(assign.target) not in lists:
                lists.append(assign.target.name)
    loops = [loop for loop in tree.find_all(nodes.For) if any(reads(loop.iter, name) for name in lists)]
    return [single(loop.target) for loop in loops]


def given_contents(tree, macro, messages):
    """Parameters of the macro that some call gives a message's content."""
    names = [argument.name for argument in macro.args]
    for call in tree.find_all(nodes.Call):
        if not isinstance(call.node, nodes.Name) or call.node.name != macro.name:
            continue
        arguments = [*zip(names, call.args), *((one.key, one.value) for one in call.kwargs)]
        for name, value in arguments:
            if name in names and any(reads_key(value, message, "content") for message in messages):
                yield name


def content_format(tree, rule):
    try:
        messages = message_names(tree)
        inside = {}
        if rule == "macros":
            for macro in tree.find_all(nodes.Macro):
                given = set(given_contents(tree, macro, messages))
                for loop in macro.find_all(nodes.For):
                    inside[id(loop)] = given or inside.get(id(loop), set())
        for loop in tree.find_all(nodes.For):
            plain = loop.iter.name if isinstance(loop.iter, nodes.Name) else None
            if (
                any(reads_key(loop.iter, message, "content") for message in messages)
                or (plain is not None and plain in inside.get(id(loop), ()))
                or (rule != "direct" and plain == "content" and id(loop) not in inside)
            ):
                single(loop.target)
                return "openai"
    except Unclear:
        pass
    return "string"


def content_formats(tree):
    return {rule: content_format(tree, rule) for rule in ("direct", "named", "macros")}
