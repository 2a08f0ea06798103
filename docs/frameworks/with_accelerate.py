"""SBA under Hugging Face Accelerate: the prepared model, its accumulation and its backward."""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sba import SBA

accelerator = Accelerator(gradient_accumulation_steps=2, mixed_precision="bf16")
set_seed(0)
pixels, classes = load_digits(return_X_y=True)
digits = TensorDataset(torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(classes))
train, test = torch.utils.data.random_split(digits, [1500, 297])
model = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Flatten(), nn.Linear(512, 10)),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
model, optimizer, loader = accelerator.prepare(
    model, optimizer, DataLoader(train, batch_size=50, shuffle=True, drop_last=True)
)
sba, generator = SBA(layers=("0",), p=0.5), torch.Generator().manual_seed(0)  # alike in every process

for _epoch in range(4):
    for images, labels in loader:
        with accelerator.accumulate(model), accelerator.autocast():
            step = sba(model, images, labels, generator=generator)
            accelerator.backward(step.loss)
            optimizer.step()
            optimizer.zero_grad()

model.eval()
images, labels = (rows.to(accelerator.device) for rows in next(iter(DataLoader(test, batch_size=297))))
accelerator.print(f"accuracy {(model(images).argmax(1) == labels).float().mean():.3f}")
