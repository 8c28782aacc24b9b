"""An image folder, and a teacher of `keras.applications` that ends in softmax.

    python examples/image_folder.py
"""

import pathlib

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import ecl_tf

SIZE = (32, 32)
keras.utils.set_random_seed(0)

# A folder as you may have one: a folder for each class, with a file for each image.
digits = load_digits()
train, test = train_test_split(range(1797), test_size=597, random_state=0, stratify=digits.target)
#DEV train, test = train_test_split(train, test_size=300, random_state=SEED, stratify=digits.target[train])
for part, numbers in {"train": train, "test": test}.items():
    for number in numbers:
        path = pathlib.Path(f"images/{part}/{digits.target[number]}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, digits.images[number][..., None])


def read(part):
    """Batches of (images in [0, 1], classes): teacher and student get the same images."""
    images = keras.utils.image_dataset_from_directory(
        f"images/{part}", image_size=SIZE, color_mode="rgb", batch_size=None, verbose=False
    )
    images = images.map(lambda image, label: (image / 255.0, label)).cache()
    return images.shuffle(2000, seed=0).batch(50)


train, test = read("train"), read("test")

# Your teacher is trained already. This one ends in softmax and takes pixels in [-1, 1].
backbone = keras.applications.MobileNet((*SIZE, 3), alpha=0.5, weights=None, include_top=False)
features = backbone.get_layer("conv_pw_5_relu").output  # Deeper layers see digits as one pixel.
features = keras.layers.GlobalAveragePooling2D()(features)
network = keras.Model(backbone.input, keras.layers.Dense(10, "softmax")(features))
for layer in network.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.9  # The usual 0.99 is for trainings of many thousand steps.
network.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
network.fit(train.map(lambda x, y: (2.0 * x - 1.0, y)), epochs=15, shuffle=False, verbose=0)
network.save("teacher.keras")

# Loaded with what it expects, it becomes a model from images in [0, 1] to logits.
teacher = ecl_tf.pretrained.load(
    "keras",
    path="teacher.keras",
    input_shape=(*SIZE, 3),
    output="categorical",
    answer="probabilities",
    preprocessing=[keras.layers.Rescaling(2.0, offset=-1.0)],
)

print(f"{'on the test folder':24} {'weights':>8} {'accuracy':>9} {'NLL, nats':>9}")
metrics = ["accuracy", ecl_tf.metrics.NegativeLogLikelihood("categorical")]
for name, sampler in {
    "ordinary distillation": "Empirical",
    "XCL, default recipe": ecl_tf.samplers.recipe(),
}.items():
    student = ecl_tf.models.build("convnet", (*SIZE, 3), 10, width=8, depth=3)
    distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(3e-3), metrics=metrics, teacher_metrics=True)
    distiller.fit(train, epochs=15, shuffle=False, verbose=0)
    scores = distiller.evaluate(test, verbose=0, return_dict=True)
    print(f"{name:24} {student.count_params():8,} {scores['accuracy']:9.1%} {scores['nll']:9.3f}")
print(f"{'teacher':24} {teacher.count_params():8,} {scores['teacher_accuracy']:9.1%} {scores['teacher_nll']:9.3f}")
