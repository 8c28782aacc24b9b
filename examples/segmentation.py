"""Segmentation: a class for every pixel of drawn images.

A small U-Net learns from a larger one. You learn that a network with logits of shape (batch,
height, width, classes) needs nothing special: the loss is the mean over the pixels.

    python examples/segmentation.py

    on held-out images      weights  accuracy  mean IoU
    majority class                      78.6%
    ordinary distillation     3,771     97.9%     0.872
    XCL, default recipe       3,771     98.1%     0.882
    teacher                  14,739     98.6%     0.911

IoU is the intersection over the union. With one seed each, the students are about as good.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ecl_tf

SIDE, CLASSES = 24, 3  # Background, ring, square.
keras.utils.set_random_seed(0)
random = np.random.default_rng(0)


def draw(count):
    """Grey images of a ring and a square under noise, and the class of every pixel."""
    images, classes = np.zeros((count, SIDE, SIDE, 1)), np.zeros((count, SIDE, SIDE), "int32")
    rows, columns = np.indices((SIDE, SIDE))
    for image, labels in zip(images, classes, strict=True):
        for shape in random.permutation([1, 2]):
            row, column, radius = *random.uniform(4, SIDE - 4, 2), random.uniform(3, 6)
            down, right = np.abs(rows - row), np.abs(columns - column)
            square = np.maximum(down, right) < radius
            ring = np.abs(np.hypot(down, right) - 0.75 * radius) < 0.25 * radius
            inside = ring if shape == 1 else square
            image[inside], labels[inside] = random.uniform(0.4, 1), shape
    return (images + 0.1 * random.normal(size=images.shape)).astype("float32"), classes


def unet(width):
    """Halves the image twice, and joins each size again on the way up."""

    def convolve(x, filters):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        # Sampled images have other means than given ones, which BatchNormalization would mix up.
        return layers.LayerNormalization()(x)

    image = keras.Input((SIDE, SIDE, 1))
    fine = convolve(image, width)
    middle = convolve(layers.MaxPooling2D()(fine), 2 * width)
    coarse = convolve(layers.MaxPooling2D()(middle), 4 * width)
    middle = convolve(layers.Concatenate()([layers.UpSampling2D()(coarse), middle]), 2 * width)
    fine = convolve(layers.Concatenate()([layers.UpSampling2D()(middle), fine]), width)
    return keras.Model(image, layers.Dense(CLASSES)(fine))


x, y = draw(300)
test_x, test_y = draw(200)
teacher = unet(8)
teacher.compile(keras.optimizers.Adam(5e-3), ecl_tf.losses.NegativeLogLikelihood("categorical"))
teacher.fit(x, y, batch_size=20, epochs=16, verbose=0)

# The student gets a tenth of the teacher's images, and no labels.
few = tf.data.Dataset.from_tensor_slices(x[:30]).repeat().shuffle(30, seed=0).batch(20)
metrics = ["accuracy", keras.metrics.MeanIoU(CLASSES, sparse_y_pred=False, name="iou")]
print(f"{'on held-out images':22} {'weights':>8} {'accuracy':>9} {'mean IoU':>9}")
print(f"{'majority class':22} {'':8} {np.mean(test_y == 0):9.1%}")
for name, sampler in {"ordinary distillation": "Empirical", "XCL, default recipe": None}.items():
    student = unet(4)
    distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(5e-3), metrics=metrics, teacher_metrics=True)
    distiller.fit(few, steps_per_epoch=300, shuffle=False, verbose=0)
    scores = distiller.evaluate(test_x, test_y, verbose=0, return_dict=True)
    print(f"{name:22} {student.count_params():8,} {scores['accuracy']:9.1%} {scores['iou']:9.3f}")
accuracy, iou = scores["teacher_accuracy"], scores["teacher_iou"]
print(f"{'teacher':22} {teacher.count_params():8,} {accuracy:9.1%} {iou:9.3f}")
