"""Makes one call after another as asked by lines of JSON on stdin, and says what became of each in a line on stdout.

A question: {"target", "path", "messages": [base64], "compression": "gzip" | "deflate" | null, "timeout": seconds | null,
"nextAfter": answers, "next": [base64], "cancelAfter": answers | null, "closeFirst": bool}. `next` is sent when so many
answers have come. Its answer: {"code": name, "details", "answers": [base64]}.
"""

import base64
import json
import queue
import sys

import grpc

COMPRESSION = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
channels = {}


def channel_to(target):
    if target not in channels:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        channels[target] = grpc.insecure_channel(target, options=options)
    return channels[target]


def ask(question):
    call = channel_to(question["target"]).stream_stream(question["path"])
    messages = queue.SimpleQueue()
    for message in question["messages"]:
        messages.put(base64.b64decode(message))
    if question["closeFirst"]:
        messages.put(None)
    answers = []
    responses = call(
        iter(messages.get, None),
        timeout=question["timeout"],
        compression=COMPRESSION.get(question["compression"]),
    )
    try:
        for answer in responses:
            answers.append(base64.b64encode(answer).decode())
            if len(answers) == question["nextAfter"]:
                for message in question["next"]:
                    messages.put(base64.b64decode(message))
            if len(answers) == question["cancelAfter"]:
                responses.cancel()
    except grpc.RpcError:
        pass
    messages.put(None)
    return {"code": responses.code().name, "details": responses.details(), "answers": answers}


for line in sys.stdin:
    print(json.dumps(ask(json.loads(line))), flush=True)
