"""Serves a SavedModel as TensorFlow Serving's REST interface does, in a thread."""

import contextlib
import http.server
import json
import threading

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2


@contextlib.contextmanager
def serving(path):
    """Gives the address of the model, http://127.0.0.1:PORT/v1/models/student."""
    model = tf.saved_model.load(str(path))
    signature = model.signatures["serving_default"]
    described = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def _answer(self, code, content):
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def do_GET(self):
            assert self.path == "/v1/models/student/metadata"
            signatures = {
                name: json_format.MessageToDict(each, preserving_proto_field_name=True)
                for name, each in described.meta_graphs[0].signature_def.items()
            }
            self._answer(200, {"metadata": {"signature_def": {"signature_def": signatures}}})

        def do_POST(self):
            assert self.path == "/v1/models/student:predict"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self._answer(200, _predicted(signature, body))
            except Exception as error:
                self._answer(400, {"error": str(error)})

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/models/student"
        finally:
            server.shutdown()


def _predicted(signature, body):
    """The answer to a request by columns."""
    specs, given = signature.structured_input_signature[1], body["inputs"]
    if not isinstance(given, dict):  # A single input needs no name.
        (name,) = specs
        given = {name: given}
    answered = signature(**{n: tf.constant(given[n], specs[n].dtype) for n in given})
    found = {name: np.asarray(values).tolist() for name, values in answered.items()}
    return {"outputs": found if len(found) > 1 else next(iter(found.values()))}
