"""What `benchmarks.steps` measures: data, teachers and students, without TensorFlow.

small, medium and heavy are of images: LeNet from 3 convolutional networks on 8 x 8, 64 rows;
ResNet-20 from 3 ResNet-56 on 32 x 32, 64 rows; MobileNetV2 from a ResNet-50 on 96 x 96, 16 rows.
table and forest are of 32 numbers, 64 rows: a student of 64 units from 4 networks of 256 units, and
from scikit-learn's random forest of 100 trees, fitted to 2,000 rows.
"""

import numpy as np

CASES = {
    "small": {
        "shape": (8, 8, 1),
        "classes": 10,
        "rows": 64,
        "steps": 200,
        "execution": 20,
        "turns": 15,
        "members": ("convnet", {"width": 32}, 3),
        "student": ("lenet", {"padding": "same"}),
    },
    "medium": {
        "shape": (32, 32, 3),
        "classes": 100,
        "rows": 64,
        "steps": 4,
        "execution": 1,
        "turns": 7,
        "members": ("resnet", {"depth": 56}, 3),
        "student": ("resnet", {"depth": 20}),
    },
    "heavy": {
        "shape": (96, 96, 3),
        "classes": 100,
        "rows": 16,
        "steps": 4,
        "execution": 1,
        "turns": 7,
        "members": ("application", {"model": "ResNet50"}, 1),
        "student": ("application", {"model": "MobileNetV2"}),
    },
    "table": {
        "shape": (32,),
        "classes": 10,
        "rows": 64,
        "steps": 200,
        "execution": 20,
        "turns": 15,
        "members": ("mlp", {"widths": (256,)}, 4),
        "student": ("mlp", {"widths": (64,)}),
    },
    "forest": {
        "shape": (32,),
        "classes": 10,
        "rows": 64,
        "steps": 40,
        "execution": 20,
        "turns": 15,
        "members": ("forest", {"trees": 100}, 1),
        "student": ("mlp", {"widths": (64,)}),
    },
}


def forest(case):
    """The forest of a case, fitted to random rows."""
    from sklearn.ensemble import RandomForestClassifier

    _, arguments, _ = case["members"]
    rng = np.random.default_rng(0)
    x = rng.random((2000, *case["shape"]), "float32")
    y = np.digitize(
        x.mean(1), np.quantile(x.mean(1), np.arange(1, case["classes"]) / case["classes"])
    )
    return RandomForestClassifier(arguments["trees"], random_state=0).fit(x, y)
