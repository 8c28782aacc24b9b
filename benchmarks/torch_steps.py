"""The live step of `benchmarks.steps` as a hand-written PyTorch loop, in a process of its own.

    python -m benchmarks.torch_steps [--compiled] [--device=gpu]

reads a case of `benchmarks.cases` as JSON on the first line, then numbers of steps, a line each,
and answers with the seconds that they took. (In one process the LLVMs of TensorFlow and PyTorch may
end each other.) It needs `pip install torch torchvision`.

The networks are those of the cases, layer by layer, or torchvision's, with random weights. Batches
are mixed by CutMix, or by Mixup where inputs are no images, the teacher runs without gradients, the
student is updated by SGD with momentum: all in PyTorch's eager mode, or with mixing, teacher and
loss as one function by `torch.compile`; images are in the "channels last" layout. On a GPU products
may be in TF32, as TensorFlow's are.
"""

import argparse
import itertools
import json
import sys

import torch
from torch import nn
from torch.nn import functional

from benchmarks import cases
from benchmarks.clock import now


def training(case, compiled, device):
    """A function that trains for a number of steps."""
    name, arguments, count = case["members"]
    if name == "forest":
        forest = cases.forest(case)

        def ask(x):
            probabilities = torch.from_numpy(forest.predict_proba(x.cpu().numpy()))
            return probabilities.clamp_min(1e-30).log().float().to(device)
    else:
        members = [_build(case, name, arguments).eval().to(device) for _ in range(count)]

        def ask(x):
            each = torch.stack([functional.log_softmax(member(x), -1) for member in members])
            return torch.logsumexp(each, 0) - torch.log(torch.tensor(float(count)))

    name, arguments = case["student"]
    student = _build(case, name, arguments).train().to(device)
    optimizer = torch.optim.SGD(student.parameters(), 1e-3, 0.9)
    shape = case["shape"]
    inputs = _channels_last(torch.rand(4 * case["rows"], *shape[2:], *shape[:2]).to(device))

    def loss_of(batch):
        mixed = _mixed(batch)
        with torch.no_grad():
            teacher = ask(mixed)
        answers = functional.log_softmax(student(mixed), -1)
        return functional.kl_div(answers, teacher, reduction="batchmean", log_target=True)

    if compiled:
        loss_of = torch.compile(loss_of)

    def run(steps):
        for _ in range(steps):
            loss = loss_of(inputs[torch.randint(len(inputs), [case["rows"]], device=device)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()  # Waits for a GPU.

    return run


def _mixed(x):
    rows = len(x)
    partners = x.roll(int(torch.randint(1, rows, [])), 0)
    if x.ndim == 2:
        share = torch.rand(rows, 1, device=x.device)
        return share * x + (1.0 - share) * partners
    side = torch.sqrt(torch.rand(rows, device=x.device))  # Of the box's area, 1 - Beta(1, 1).

    def inside(size):
        centre, half = torch.rand(rows, device=x.device), side / 2
        low, high = torch.round((centre - half) * size), torch.round((centre + half) * size)
        place = torch.arange(size, device=x.device)
        return (place >= low[:, None]) & (place < high[:, None])

    *_, height, width = x.shape
    box = inside(height)[:, None, :, None] & inside(width)[:, None, None, :]
    return _channels_last(torch.where(box, partners, x))


def _build(case, name, arguments):
    if name == "mlp":
        sizes = [*case["shape"], *arguments["widths"]]
        pairs = itertools.pairwise(sizes)
        hidden = [layer for pair in pairs for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(*hidden, nn.Linear(sizes[-1], case["classes"]))
    height, _, channels = case["shape"]
    if name == "application":
        import torchvision  # Here, because it is needed for these alone.

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


def _channels_last(x):
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    flags = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = torch.device("cuda" if flags.device == "gpu" else "cpu")
    run = training(json.loads(sys.stdin.readline()), flags.compiled, device)
    for line in sys.stdin:
        begun = now()
        run(int(line))
        print(now() - begun, flush=True)


if __name__ == "__main__":
    main()
