"""Segmentation: a class for every pixel.

    python examples/segmentation.py
"""

import keras
import numpy as np
from keras import layers

import ecl_tf

CLASSES = ["background", "disc", "square"]
SIDE = 24

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
#DEV random = np.random.default_rng(100 + SEED)


def draw(count):
    """Grey images of a disc and a square under noise, and the class of every pixel."""
    images, classes = np.zeros((count, SIDE, SIDE, 1)), np.zeros((count, SIDE, SIDE), "int32")
    rows, columns = np.indices((SIDE, SIDE))
    for image, labels in zip(images, classes, strict=True):
        for shape in random.permutation([1, 2]):
            row, column, radius = *random.uniform(4, SIDE - 4, 2), random.uniform(3, 6)
            down, right = np.abs(rows - row), np.abs(columns - column)
            distance = np.hypot(down, right) if shape == 1 else np.maximum(down, right)
            image[distance < radius], labels[distance < radius] = random.uniform(0.4, 1), shape
    return (images + 0.1 * random.normal(size=images.shape)).astype("float32"), classes


def unet(width):
    """Halves the image twice, and joins each size again on the way up; logits for every pixel."""

    def convolve(x, filters):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        return layers.BatchNormalization()(x)

    inputs = keras.Input((SIDE, SIDE, 1))
    fine = convolve(inputs, width)
    middle = convolve(layers.MaxPooling2D()(fine), 2 * width)
    coarse = convolve(layers.MaxPooling2D()(middle), 4 * width)
    middle = convolve(layers.Concatenate()([layers.UpSampling2D()(coarse), middle]), 2 * width)
    fine = convolve(layers.Concatenate()([layers.UpSampling2D()(middle), fine]), width)
    return keras.Model(inputs, layers.Conv2D(len(CLASSES), 1)(fine))


x, y = draw(300)
held_out = draw(200)
# Metrics of Keras get probabilities from the distiller, of every pixel.
metrics = ["accuracy", keras.metrics.MeanIoU(len(CLASSES), sparse_y_pred=False, name="iou")]
print(f"{'on held-out images':24} {'weights':>8} {'accuracy':>9} {'mean IoU':>9}")
print(f"{'majority class':24} {'':8} {np.mean(held_out[1] == 0):9.1%}")

teacher = unet(8)
loss = ecl_tf.losses.NegativeLogLikelihood("categorical")
teacher.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
teacher.fit(x, y, batch_size=20, epochs=20, verbose=0)

for name, sampler in {
    "ordinary distillation": "Empirical",
    "XCL, default recipe": ecl_tf.samplers.recipe(),
}.items():
    student = unet(4)
    distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(5e-3), metrics=metrics, teacher_metrics=True)
    distiller.fit(x, batch_size=20, epochs=20, verbose=0)
    scores = distiller.evaluate(*held_out, verbose=0, return_dict=True)
    print(f"{name:24} {student.count_params():8,} {scores['accuracy']:9.1%} {scores['iou']:9.3f}")
print(f"{'teacher':24} {teacher.count_params():8,} {scores['teacher_accuracy']:9.1%} {scores['teacher_iou']:9.3f}")
