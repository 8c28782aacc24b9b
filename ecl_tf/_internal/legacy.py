"""Networks of the Keras before this one, which look like those of Keras 3 and are not."""

_PACKAGES = ("tf_keras", "tensorflow.python.keras")


def refuse(model, role):
    """Raises ValueError for a network of Keras 2, `tf_keras`, with what helps.

    Args:
        model: what was given as a network.
        role: "student", "model" or "teacher", for the message.
    """
    if not any(cls.__module__.startswith(_PACKAGES) for cls in type(model).__mro__):
        return
    name = getattr(model, "name", "")
    remedy = (
        "model.export(directory) of it writes a SavedModel, which ecl_tf.pretrained.load("
        "'saved_model', input_shape, output, path=directory, answer='logits') takes as a teacher"
    )
    if role != "teacher":
        remedy = (
            f"A {role} is trained, so it has to be built with the layers of `keras`, which are "
            f"mostly the same; {role}.set_weights(old.get_weights()) keeps the weights. Only a "
            f"teacher may stay as it is: {remedy}"
        )
    else:
        remedy = f"{remedy} (or answer='probabilities')"
    raise ValueError(
        f"The {role} {name!r} is a legacy network of tf_keras (Keras 2), which Keras 3 can't run. "
        f"{remedy}."
    )
