"""The bundle: one folder that holds everything scoring needs, and proves that it is intact.

    manifest.json     format, version, columns, size and SHA-256 of every other file
    encoder/          the schema and the vocabularies
    model/            network.json and weights.safetensors; with ONNX also network.onnx, and
                      request.onnx if the bundle names the columns that a request gives once
    members/          the further networks of a blend; blend.json has its weights
    forests/          the forests that networks hear, or a blend has as a member
    calibrators.json  maps of the probabilities, if they are calibrated
    golden/           a few raw rows and the scores that they must get
    metrics.json      what was measured
    unknown.json      share of values without a known id, by feature, from which drift is noticed
    request.json      the input columns that a request gives once, if the caller named them
    README.md         the model card

`save` writes it, `bundle` loads it. Nothing in it is unpickled. Loading verifies the files and
then scores the golden rows.
"""

from recmtl.serve.bundle.bundle import Bundle, load_bundle
from recmtl.serve.bundle.save import check_serving, save_bundle

__all__ = ["Bundle", "check_serving", "load_bundle", "save_bundle"]
