"""`Distiller.export`: the student alone, as a file, with what the distiller knows of its inputs."""

from typing import Any

import keras

from ecl_tf import export
from ecl_tf._internal import random
from ecl_tf.export import quantizing

_DRAWS = 4  # Samples of each row, from which ranges of activations are measured.


class Exports(keras.Model):
    """The part of a `Distiller` that writes its student."""

    _input_specs: Any

    def export(self, filepath: Any, format: str = "saved_model", **kwargs: Any) -> None:
        """Writes the student alone to a file; see `ecl_tf.export.export_student`.

        Args:
            filepath: the directory to write; of LiteRT a file called *.tflite, of ONNX one called
                *.onnx.
            format: "saved_model", the default, "litert" or "onnx".
            **kwargs: `columns`, `class_names`, `conformal`, `target_units`, `examples` and
                `quantization`, as there. Of a distiller with `quantization="int8"` a LiteRT file
                has the ranges that it learned, and needs no `examples`; other formats hold its
                student in float32. Of another one `quantization="int8"` takes the ranges of
                `examples` and of what the sampler makes of them.
        """
        known = ["columns", "class_names", "conformal", "target_units", "examples", "quantization"]
        if unknown := sorted(set(kwargs) - set(known)):
            raise ValueError(f"Distiller.export takes {known} besides format; got {unknown}.")
        # Of a store's samples it is not known which networks were asked.
        others = getattr(self.teacher, "members", []) if self.teacher.answers_new_inputs else None
        if format == "litert":
            quantization = kwargs.pop("quantization", self.quantization)
            kwargs["quantization"] = self._quantized_for(quantization, kwargs.get("examples"))
        own = self.student, self.output_kind, filepath, self._input_specs, others
        export.write(*own, format=format, **kwargs)

    def _quantized_for(self, quantization, examples):
        if quantization == "int8" and self.quantized:
            quantizing.require_ranges(self.quantized)
            return self.quantized
        batches = self._representative(examples)
        of = self.student, quantization, batches, self.output_kind
        return quantizing.prepared(*of, takes_scaled=True)

    def _representative(self, examples):
        """Batches of inputs as they are, and as the sampler changes them."""
        for number, batch in enumerate(quantizing.parted(examples, self.student)):
            yield batch
            for draw in range(_DRAWS):
                seed = random.fold_in(random.fold_in(self.seed, draw), number)
                yield self.sampler(batch, seed, self._networks()).inputs
