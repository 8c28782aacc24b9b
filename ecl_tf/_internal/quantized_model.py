"""A network in 8 bits as a Keras model, which trains, is saved and is asked like any other."""

import keras

from ecl_tf._internal import fake_quantization, symbolic


@keras.saving.register_keras_serializable("ecl_tf")
class QuantizedModel(keras.Model):
    """A network that answers as `FakeQuantized` does, and keeps the ranges of its activations.

    It has the symbolic inputs and outputs of the network, and shares its layers.

    Attributes:
        network: the Keras model in float32.
        quantized: the `FakeQuantized` network.

    Args:
        network: as `FakeQuantized` takes it.

    Raises:
        ValueError: as there.
    """

    def __init__(self, network):
        quantized = fake_quantization.FakeQuantized(network)
        inputs, outputs = symbolic.inputs_of(network), symbolic.output_of(network)
        super().__init__(inputs, outputs, name=network.name)
        self.network, self.quantized = network, quantized
        self.ranges = quantized.ranges  # Their weights are saved, not trained.

    def call(self, inputs, training=None, mask=None):
        return self.quantized(inputs, training=bool(training))

    def count_params(self):
        """Those of the network: ranges are none."""
        return self.network.count_params()

    def get_config(self):
        return {"network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["network"]))
