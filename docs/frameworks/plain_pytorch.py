"""SBA in a loop of plain PyTorch: automatic mixed precision, gradient accumulation, a checkpoint."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from sba import SBA

device = "cuda" if torch.cuda.is_available() else "cpu"
half = torch.float16 if device == "cuda" else torch.bfloat16
pixels, classes = load_digits(return_X_y=True)
images = torch.tensor(pixels / 16, dtype=torch.float32, device=device).view(-1, 1, 8, 8)
labels = torch.tensor(classes, device=device)

torch.manual_seed(0)
model = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Flatten(), nn.Linear(256, 10)),
).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
generator = torch.Generator().manual_seed(0)  # of the CPU, for SBA alone
sba = SBA(layers=("0", "1"), p=0.5)

for _epoch in range(3):
    for rows in torch.randperm(1500).view(-1, 2, 50):  # batches of 2 times 50
        for part in rows:
            with torch.autocast(device, half):
                step = sba(model, images[part], labels[part], generator=generator)
            scaler.scale(step.loss / len(rows)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

checkpoint = {"model": model.state_dict(), "sba": sba.state_dict(), "generator": generator.get_state()}
sba.load_state_dict(checkpoint["sba"])  # to resume
generator.set_state(checkpoint["generator"])
accuracy = (model.eval()(images[1500:]).argmax(1) == labels[1500:]).float().mean()
print(f"accuracy {accuracy:.3f}")
