"""A policy in its own process and environment: put your model into Policy (docs/foreign-policies.md).
smidgen-eval policy="process:python examples/serve_policy.py" task=lift episodes=10 out=outputs/results
"""

import json
import os
import socket
import struct
import sys
import threading
import traceback

import numpy as np


class Policy:
    name, observes, num_frames, files = "middle", ["frames"], 1, {}  # files: SHA-256 of your weights, by name

    def __init__(self, task, action):  # action: lists "names", "kinds", "low" and "high"
        self.middle = (np.array(action["low"]) + np.array(action["high"])) / 2

    def reset(self, num_episodes, seed): ...

    def act(self, frames):  # uint8 (B, cameras, H, W, 3), the newest only; returns (B, A)
        return np.tile(self.middle, (len(frames), 1))


def answer(state, kind, fields, arrays):
    if kind == "hello":
        state["policy"] = policy = Policy(fields["task"], fields["action"])
        card = {name: getattr(policy, name) for name in ("name", "observes", "num_frames", "files")}
        return {"kind": "ok", "protocol": 1, "has_chunk": hasattr(policy, "chunk"), **card}, {}
    result = getattr(state["policy"], kind)(**fields, **arrays)
    return {"kind": "ok"}, {} if result is None else {"actions": np.asarray(result, "<f8")}


def serve(stream, state):
    while len(start := stream.read(16)) == 16:
        fields, arrays = json.loads(stream.read(struct.unpack("<4sIQ", start)[1])), {}
        for name, sent in fields.pop("arrays").items():
            dtype = np.dtype("<" + sent["dtype"])
            body = stream.read(dtype.itemsize * int(np.prod(sent["shape"], dtype=int)))
            arrays[name] = np.frombuffer(body, dtype).reshape(sent["shape"]).copy()
        try:
            fields, arrays = answer(state, fields.pop("kind"), fields, arrays)
        except Exception as error:
            fields, arrays = {"kind": "error", "message": repr(error), "trace": traceback.format_exc()}, {}
        fields["arrays"] = {name: {"dtype": "f8", "shape": array.shape} for name, array in arrays.items()}
        header, body = json.dumps(fields).encode(), b"".join(array.tobytes() for array in arrays.values())
        stream.write(struct.pack("<4sIQ", b"SMG1", len(header), len(body)) + header + body)
        stream.flush()


if __name__ == "__main__" and len(sys.argv) == 1:  # started by smidgen, at the other end of a socket
    serve(socket.socket(fileno=int(os.environ["SMIDGEN_POLICY_FD"])).makefile("rwb"), {})
elif __name__ == "__main__":  # `python examples/serve_policy.py 5555`, then policy=remote:localhost:5555
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    while True:
        threading.Thread(target=serve, args=(server.accept()[0].makefile("rwb"), {})).start()
