"""The live step of `benchmarks.steps` as a hand-written PyTorch loop, in a process of its own.

    python -m benchmarks.torch_steps JSON

reads numbers of steps, a line each, and answers with the seconds that they took; JSON is one of
`steps.CASES`. (In one process the LLVMs of TensorFlow and PyTorch may end each other.) It needs
`pip install torch torchvision`.

The networks are those of the cases, layer by layer, or torchvision's, with random weights. Batches
are mixed by CutMix, the teacher runs under `inference_mode`, the student is updated by SGD with
momentum: all in PyTorch's eager mode and the "channels last" layout.
"""

import json
import sys
import time

import torch
import torchvision
from torch import nn
from torch.nn import functional


def training(case):
    """A function that trains for a number of steps."""
    name, arguments, count = case["members"]
    members = [_build(case, name, arguments).eval() for _ in range(count)]
    name, arguments = case["student"]
    student = _build(case, name, arguments).train()
    optimizer = torch.optim.SGD(student.parameters(), 1e-3, 0.9)
    height, width, channels = case["shape"]
    images = _channels_last(torch.rand(4 * case["rows"], channels, height, width))

    def run(steps):
        for _ in range(steps):
            batch = images[torch.randint(len(images), [case["rows"]])]
            mixed = _channels_last(_cutmix(batch))
            with torch.inference_mode():
                each = torch.stack([functional.log_softmax(m(mixed), -1) for m in members])
                teacher = torch.logsumexp(each, 0) - torch.log(torch.tensor(float(count)))
            teacher = teacher.clone()  # Tensors of inference take no part in gradients.
            answers = functional.log_softmax(student(mixed), -1)
            loss = functional.kl_div(answers, teacher, reduction="batchmean", log_target=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def _cutmix(images):
    rows, _, height, width = images.shape
    side = torch.sqrt(torch.rand(rows))  # Of the box's area, 1 - Beta(1, 1).

    def inside(size):
        centre, half = torch.rand(rows), side / 2
        low, high = torch.round((centre - half) * size), torch.round((centre + half) * size)
        place = torch.arange(size)
        return (place >= low[:, None]) & (place < high[:, None])

    box = inside(height)[:, None, :, None] & inside(width)[:, None, None, :]
    partners = images.roll(int(torch.randint(1, rows, [])), 0)
    return torch.where(box, partners, images)


def _build(case, name, arguments):
    height, _, channels = case["shape"]
    if name == "application":
        build = {
            "ResNet50": torchvision.models.resnet50,
            "MobileNetV2": torchvision.models.mobilenet_v2,
        }[arguments["model"]]
        network = build(weights=None, num_classes=case["classes"])
    else:
        build = {"lenet": _lenet, "convnet": _convnet, "resnet": _ResNet}[name]
        network = build(height, channels, case["classes"], **arguments)
    return network.to(memory_format=torch.channels_last)


def _lenet(side, channels, classes, padding):
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5, padding=padding),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5, padding=padding),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * (side // 4) ** 2, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


def _convnet(side, channels, classes, width):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (side // 4) ** 2, classes),
    )


def _convolution(before, after, stride=1):
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after)
    )


class _Unit(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.stride = 1 if before == after else 2
        self.first = _convolution(before, after, self.stride)
        self.second = _convolution(after, after)
        self.missing = (after - before) // 2

    def forward(self, x):
        residual = self.second(torch.relu(self.first(x)))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.missing, self.missing))
        return torch.relu(shortcut + residual)


class _ResNet(nn.Module):
    def __init__(self, _, channels, classes, depth):
        super().__init__()
        self.stem = _convolution(channels, 16)
        units = []
        for before, after in ((16, 16), (16, 32), (32, 64)):
            units.append(_Unit(before, after))
            units += [_Unit(after, after) for _ in range((depth - 2) // 6 - 1)]
        self.units = nn.Sequential(*units)
        self.last = nn.Linear(64, classes)

    def forward(self, x):
        x = self.units(torch.relu(self.stem(x)))
        return self.last(x.mean((2, 3)))


def _channels_last(images):
    return images.contiguous(memory_format=torch.channels_last)


def main():
    run = training(json.loads(sys.argv[1]))
    for line in sys.stdin:
        begun = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main()
