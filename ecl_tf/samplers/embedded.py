"""Mixtures of what an embedding layer gives, for inputs of which there is no mean."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import uncertainty
from ecl_tf._internal import layer_outputs
from ecl_tf.samplers import fields
from ecl_tf.samplers.mixing import DirichletMixup, Mixup
from ecl_tf.samplers.sampler import Sampler, Samples, row_count


@keras.saving.register_keras_serializable("ecl_tf")
class Embedded(Sampler):
    """Mixes rows within the networks: what their embedding layers give of a row and its partner.

    Of token ids i and j there is no mean, of their vectors there is. Each network mixes its own,
    with the same partner and coefficient c:

        e~ = c E(i) + (1 - c) E(j)

    E is the network's layer, and what comes after it works on e~. The sampled inputs are the rows'
    own ids; with them go the partners and the coefficients. A gradient reaches the student's
    vectors of both rows. The layer runs once, so a step costs what one of ordinary distillation
    costs.

    Positions that hold `padding` in the row or in its partner are not mixed: there e~ is E(i). So a
    row keeps its length, and Keras's mask of it stays true.

    Beside ids there may be other inputs. Those of floating point, but for `unchanged`, are mixed
    by the same partner and coefficient, as `base` does it; all others stay as they are.

    It works by itself, in a `Choice`, and as the last of a `Chain`. The partner's vectors are those
    of the partner as it was drawn, so in a `Choice` with `Swap` they may be of a swapped row.
    Stores (`ecl_tf.replay`) hold the teacher's answers to such mixtures.

    Args:
        base: what draws partners and coefficients: `Mixup`, "Mixup" (the default) or
            `DirichletMixup`, a name or config of one.
        layer: the name of the layer in both networks, or {"student": name, "teacher": name}, the
            latter in every member. None, the default, is the network's only
            `keras.layers.Embedding`. Any other layer that gives a tensor (batch, ...) can be named,
            too.
        unchanged: names of inputs of floating point that stay as they are, such as ids and masks;
            none by default.
        padding: the id that fills rows up to their common length, as it comes to the layer; 0
            typically. None, the default, for no padding.

    Raises:
        ValueError: if `base` is another sampler, `layer` is no name or dict of names, `unchanged`
            names an input that there is not, or (from a `Distiller`) a network has no such layer,
            several embedding layers where none is named, or masks another id than `padding`.

    Example:
    >>> ids = tf.constant([[3, 4, 0], [5, 6, 7]])
    >>> samples = Embedded("Mixup", padding=0)(ids, seed=0)
    >>> samples.inputs.numpy().tolist()
    [[3, 4, 0], [5, 6, 7]]
    >>> samples.mixture.partners.numpy().tolist()  # How many rows below the row itself.
    [[1], [-1]]
    >>> samples.mixture.shares.shape  # Of every partner: 1 - c.
    TensorShape([2, 1])

    References: Guo, Mao and Zhang, "Augmenting Data with Mixup for Sentence Classification: An
    Empirical Study", 2019, mix word embeddings and labels; Verma et al., "Manifold Mixup", 2019,
    any layer's output. That the teacher mixes its own vectors and labels the mixture is this
    project's.
    """

    mixes_within = True

    def __init__(
        self,
        base: Sampler | str | dict[str, Any] = "Mixup",
        layer: str | dict[str, str] | None = None,
        unchanged: Sequence[str | int] = (),
        padding: Any = None,
    ):
        from ecl_tf.samplers import get

        self.base: Any = get(base)
        if not isinstance(self.base, (Mixup, DirichletMixup)):
            raise ValueError(
                "Embedded mixes rows as Mixup or DirichletMixup say it; got the base "
                f"{self.base!r}. Other samplers go beside it: Choice([Embedded(), ...])."
            )
        names = layer.values() if isinstance(layer, dict) else [] if layer is None else [layer]
        known = not isinstance(layer, dict) or (layer and set(layer) <= {"student", "teacher"})
        if not known or not all(isinstance(name, str) for name in names):
            raise ValueError(
                "Embedded's layer is a layer's name, {'student': name, 'teacher': name}, or None "
                f"for the only keras.layers.Embedding of each network; got {layer!r}."
            )
        if isinstance(unchanged, str):
            raise ValueError(f"Embedded's unchanged is a list of names; got {unchanged!r}.")
        self.layer, self.padding = layer, padding
        self.unchanged = [str(each) for each in unchanged]

    def effect(self, path: tuple, leaf: Any) -> str:
        return self.base.effect(path, leaf) if self._mixes(path, leaf) else "embeds"

    def padding_of(self, path: tuple) -> Any:
        named = fields.name_of(path) in getattr(self.base, "swap", ())
        return self.base.padding_of(path) if named else self.padding

    def _mixes(self, path, leaf):
        """Whether `base` works on an input, which then is not for the layer."""
        if not path or fields.name_of(path) in self.unchanged:
            return False
        swaps = self.base.effect(path, leaf) == "swaps"
        return swaps or tf.as_dtype(leaf.dtype).is_floating

    def _mixed(self, inputs):
        """The inputs that `base` works on, by name."""
        leaves = keras.tree.flatten_with_path(inputs)
        return {fields.name_of(path): leaf for path, leaf in leaves if self._mixes(path, leaf)}

    def validate(self, inputs: Any) -> None:
        fields.require_names(self, "unchanged", self.unchanged, inputs)
        if mixed := self._mixed(inputs):
            self.base.validate(mixed)

    def validate_networks(self, networks: uncertainty.Networks) -> None:
        super().validate_networks(networks)
        for role in ("student", "teacher"):
            for layer in self.layers_of(networks, role):
                if getattr(layer, "mask_zero", False) and self.padding != 0:
                    raise ValueError(
                        f"Embedded would mix padding with words in the {role}, whose layer "
                        f"{layer.name!r} masks those that are 0: a row's length would change. Say "
                        "so: Embedded(..., padding=0)."
                    )

    def layers_of(self, networks: uncertainty.Networks, role: str) -> list[keras.Layer]:
        """Returns the layers whose outputs are mixed, one of each network of a role.

        Args:
            networks: `ecl_tf.uncertainty.Networks`.
            role: "student" or "teacher". A store's recorded teacher has none.

        Raises:
            ValueError: if a network has no such layer, or several.
        """
        name = self.layer.get(role) if isinstance(self.layer, dict) else self.layer
        return [_layer_of(network, role, name) for network in _networks(networks, role)]

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        mixture = self.base.mixture(row_count(inputs), seed)
        mixed = self._mixed(inputs)
        if mixed:  # Of the same seed, so by the same partners and coefficients.
            mixed = self.base.sample(mixed, seed).inputs
        drawn = [
            mixed.get(fields.name_of(path), leaf)
            for path, leaf in keras.tree.flatten_with_path(inputs)
        ]
        unmodified = tf.reduce_all(tf.equal(mixture.partners, 0), 1)
        packed = keras.tree.pack_sequence_as(inputs, drawn)
        return Samples(packed, unmodified, mixture=mixture)

    def get_config(self) -> dict[str, Any]:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "layer": self.layer,
            "unchanged": self.unchanged,
            "padding": self.padding,
        }


@contextlib.contextmanager
def mixing(
    samples: Samples, sampler: Sampler, networks: uncertainty.Networks, role: str
) -> Iterator[None]:
    """Has the networks of a role mix rows as `samples` say it, while they are called.

    Rows that are appended to the samples are not mixed.

    Args:
        samples: what is to be asked about; where they have no mixture, or the teacher's answers,
            nothing is changed.
        sampler: that drew it.
        networks: `ecl_tf.uncertainty.Networks`.
        role: "student" or "teacher".

    Raises:
        ValueError: if a network has no such layer, does not call it, or gives no rows there.
    """
    answered = role == "teacher" and len(samples.member_outputs)
    if not samples.mixture or answered:
        yield
        return
    part = _only_embedded(sampler)
    layers = part.layers_of(networks, role)

    def change(layer, outputs, args, kwargs):
        if kwargs.get("reverse") or args[1:2] == (True,):  # Of a `ReversibleEmbedding`.
            return outputs
        return _mix(layer, outputs, args, samples.mixture, part.padding)

    with layer_outputs.changed(layers, change) as called:
        yield
    if missed := [layer.name for layer in layers if id(layer) not in called]:
        raise ValueError(
            f"Embedded mixes what the layer {missed[0]!r} of the {role} gives, and the {role} did "
            "not call it, as where it is one of another graph, or of a file's. Build the network "
            "of layers of Keras, or name another layer: Embedded(layer=...)."
        )


def _only_embedded(sampler):
    """The part of a sampler that mixes within the networks; ValueError if several differ."""
    found = [part for part in sampler.parts if isinstance(part, Embedded)]
    if not found or any((p.layer, p.padding) != (found[0].layer, found[0].padding) for p in found):
        raise ValueError(
            "One sampler mixes within one layer of each network, and with one padding; got "
            f"{[(part.layer, part.padding) for part in found]} as layer and padding of {sampler!r}."
        )
    return found[0]


def _networks(networks, role):
    """The Keras models of a role that answer sampled inputs."""
    if role == "student":
        return [] if networks.student is None else [networks.student]
    teacher = networks.teacher
    if not getattr(teacher, "answers_new_inputs", False):
        return []
    found = getattr(teacher, "members", None) or getattr(teacher, "networks", None)
    if not found:
        raise ValueError(
            f"Embedded mixes what a layer within the teacher gives, and the teacher "
            f"{teacher.name!r}, {type(teacher).__name__}, is no network of Keras. Use "
            "ecl_tf.samplers.Swap, which asks about whole rows of ids."
        )
    return found


def _layer_of(network, role, name):
    layers = list({id(layer): layer for layer in network._flatten_layers()}.values())
    embeddings = [layer for layer in layers if isinstance(layer, keras.layers.Embedding)]
    found = embeddings if name is None else [layer for layer in layers if layer.name == name]
    if len(found) == 1:
        return found[0]
    known = [layer.name for layer in embeddings]
    if name is None and found:
        told = f"{len(found)} layers keras.layers.Embedding, {known}"
        remedy = f"Say which is meant: Embedded(layer={{{role!r}: {known[0]!r}, ...}})."
    else:
        what = "layer keras.layers.Embedding" if name is None else f"layer {name!r}"
        told = f"{len(found) or 'no'} {what}" + ("s" if len(found) > 1 else "")
        remedy = (
            "Name the layer that gives vectors of ids: Embedded(layer=...)"
            + (f", of its embedding layers {known}" if known else "")
            + ". Of a network that is no model of Keras's layers none is known: use "
            "ecl_tf.samplers.Swap there."
        )
    raise ValueError(f"Embedded finds {told} in the {role} {network.name!r}. {remedy}")


def _mix(layer, outputs, args, mixture, padding):
    """What a layer gives, mixed.

    Args:
        layer: the layer.
        outputs: what it gave, (rows, ...), perhaps with rows that were appended to the mixture's.
        args: what it was called with.
        mixture: the `Mixture`.
        padding: the id that stays, or None.
    """
    partners, shares = mixture
    if not tf.is_tensor(outputs) or outputs.shape.rank in (None, 0):
        raise ValueError(f"Embedded mixes one tensor, and the layer {layer.name!r} gives another.")
    given, wanted = outputs.shape[0], shares.shape[0]
    if given is not None and (wanted is None or given < wanted):
        raise ValueError(
            f"Embedded mixes rows, and the layer {layer.name!r} gives a tensor of shape "
            f"{tuple(outputs.shape)} whose first axis is not the batch, as one of positions does. "
            "Name the layer that gives vectors of ids: Embedded(layer=...)."
        )
    rows = tf.shape(outputs)[0]
    appended = [[0, rows - tf.shape(shares)[0]], [0, 0]]
    partners, shares = tf.pad(partners, appended), tf.pad(shares, appended)
    real = None if padding is None else _real(layer, args, outputs, padding)
    rest, terms = 1.0, []
    for number in range(shares.shape[1]):
        row = tf.range(rows) + partners[:, number]
        share = tf.reshape(shares[:, number], [-1, *[1] * (outputs.shape.rank - 1)])
        if real is not None:
            both = real & tf.gather(real, row)
            share = tf.where(both[..., None], share, 0.0)
        share = tf.cast(share, outputs.dtype)
        terms.append(share * tf.gather(outputs, row))
        rest -= share
    return tf.add_n([rest * outputs, *terms])


def _real(layer, args, outputs, padding):
    """Which positions of the ids that came to a layer are not padding."""
    ids = tf.convert_to_tensor(args[0])
    if ids.shape.rank != outputs.shape.rank - 1:
        raise ValueError(
            f"Embedded has padding={padding!r}, an id, but the layer {layer.name!r} takes a tensor "
            f"of shape {tuple(ids.shape)} and gives {tuple(outputs.shape)}: no vector for each id. "
            "Name the embedding layer, or leave padding out."
        )
    return tf.not_equal(ids, tf.cast(padding, ids.dtype))
