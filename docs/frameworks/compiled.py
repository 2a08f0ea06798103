"""SBA with torch.compile: the compiled network, and the whole step (python compiled.py [BACKEND])."""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

from sba import SBA

backend = sys.argv[1] if len(sys.argv) > 1 else "inductor"
pixels, classes = load_digits(return_X_y=True)
images, labels = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(classes)

torch.manual_seed(0)
model = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Flatten(), nn.Linear(512, 10)),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
sba, generator = SBA(layers=("0",), p=0.5), torch.Generator().manual_seed(0)
compiled = torch.compile(model, backend=backend)  # steps that are not augmented run compiled


@torch.compile(backend=backend)
def train_step(images, labels):  # the graph breaks at the step, which chooses its network's path as it runs
    loss = sba(compiled, images - 0.5, labels, generator=generator).loss
    loss.backward()
    return loss.detach()


for _epoch in range(3):
    for rows in torch.randperm(1500).view(-1, 50):
        optimizer.zero_grad()
        train_step(images[rows], labels[rows])
        optimizer.step()

accuracy = (model.eval()(images[1500:] - 0.5).argmax(1) == labels[1500:]).float().mean()
print(f"accuracy {accuracy:.3f}")
