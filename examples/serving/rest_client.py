"""Asks a student that TensorFlow Serving serves. It needs numpy, and no TensorFlow.

    tensorflow_model_server --rest_api_port=8501 --model_name=student --model_base_path=$PWD/served
    python examples/serving/rest_client.py http://localhost:8501/v1/models/student inputs.npz

The server looks for the export in served/1, where 1 is the version. inputs.npz holds an array for
each of the student's inputs, by its name.
"""

import json
import sys
import urllib.error
import urllib.request

import numpy as np


def ask(url, body=None):
    """What the server answers, as JSON; ends the program with the server's own error."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.code}: {json.load(error)['error']}")


def main(url, inputs):
    signatures = ask(f"{url}/metadata")["metadata"]["signature_def"]["signature_def"]
    signature = signatures["serving_default"]

    with np.load(inputs) as arrays:
        batch = {name: arrays[name].tolist() for name in signature["inputs"]}
    answer = ask(f"{url}:predict", {"signature_name": "serving_default", "inputs": batch})
    found, names = answer["outputs"], list(signature["outputs"])
    if len(names) == 1:  # Then the server leaves the name out.
        found = {names[0]: found}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
