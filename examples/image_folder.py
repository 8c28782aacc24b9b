"""An image folder, and a teacher of `keras.applications` that ends in softmax.

You learn how to read a folder of images, and how to take a network as it is: with pixels in a
scale of its own, and with probabilities in place of logits.

    python examples/image_folder.py

    on the test folder      weights  accuracy NLL, nats
    ordinary distillation    11,162     96.8%     0.129
    XCL, default recipe      11,162     97.0%     0.166
    teacher                  38,634     97.8%     0.088

One seed each: another may change an accuracy by a point.
"""

import pathlib

import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import ecl_tf

SHAPE = (32, 32, 3)
keras.utils.set_random_seed(0)

# A folder as you may have one: a folder for each class, with a file for each image.
digits = load_digits()
numbers = train_test_split(range(1797), test_size=597, random_state=0, stratify=digits.target)
for part, of_part in zip(("train", "test"), numbers, strict=True):
    for number in of_part:
        path = pathlib.Path(f"images/{part}/{digits.target[number]}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, digits.images[number][..., None])


def read(part):
    """Batches of images in [0, 1] and classes: what teacher and student both get."""
    images = keras.utils.image_dataset_from_directory(
        f"images/{part}", image_size=SHAPE[:2], batch_size=None, verbose=False
    )
    images = images.map(lambda image, label: (image / 255.0, label)).cache()
    return images.shuffle(2000, seed=0).batch(50)


train, test = read("train"), read("test")
few = train.take(4).cache().repeat()  # The student gets 200 of the teacher's 1,200 images.

# Your teacher is trained already. This one takes pixels in [-1, 1] and ends in softmax.
backbone = keras.applications.MobileNet(SHAPE, alpha=0.5, weights=None, include_top=False)
features = backbone.get_layer("conv_pw_5_relu").output  # Deeper layers see a digit as one pixel.
features = layers.GlobalAveragePooling2D()(features)
network = keras.Model(backbone.input, layers.Dense(10, "softmax")(features))
for layer in network.layers:
    if isinstance(layer, layers.BatchNormalization):
        layer.momentum = 0.9  # The usual 0.99 is for trainings of many thousand steps.
network.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
network.fit(train.map(lambda x, y: (2.0 * x - 1.0, y)), epochs=8, shuffle=False, verbose=0)
network.save("teacher.keras")

teacher = ecl_tf.pretrained.load(
    "keras",
    path="teacher.keras",
    input_shape=SHAPE,
    output="categorical",
    answer="probabilities",
    preprocessing=[layers.Rescaling(2.0, offset=-1.0)],
)
print(f"{'on the test folder':22} {'weights':>8} {'accuracy':>9} {'NLL, nats':>9}")
metrics = ["accuracy", ecl_tf.metrics.NegativeLogLikelihood("categorical")]
for name, sampler in {"ordinary distillation": "Empirical", "XCL, default recipe": None}.items():
    student = ecl_tf.models.build("convnet", SHAPE, 10, width=8, depth=3)
    distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
    optimizer = keras.optimizers.Adam(3e-3)
    distiller.compile(optimizer, metrics=metrics, teacher_metrics=True, steps_per_execution=20)
    distiller.fit(few, steps_per_epoch=400, shuffle=False, verbose=0)
    scores = distiller.evaluate(test, verbose=0, return_dict=True)
    print(f"{name:22} {student.count_params():8,} {scores['accuracy']:9.1%} {scores['nll']:9.3f}")
accuracy, nll = scores["teacher_accuracy"], scores["teacher_nll"]
print(f"{'teacher':22} {teacher.count_params():8,} {accuracy:9.1%} {nll:9.3f}")
