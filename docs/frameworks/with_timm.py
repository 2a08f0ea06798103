"""SBA in timm's training: create_model, its optimizer and scheduler, its mixup with soft targets."""

import torch
from sklearn.datasets import load_digits
from timm import create_model
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler

from sba import SBA

torch.manual_seed(0)
pixels, classes = load_digits(return_X_y=True)
images, labels = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(classes)
images = torch.nn.functional.interpolate(images, size=32)

model = create_model("test_resnet", num_classes=10, in_chans=1)
optimizer = create_optimizer_v2(model, opt="adamw", lr=2e-3, weight_decay=0.05)
scheduler = CosineLRScheduler(optimizer, t_initial=4, warmup_t=1, warmup_lr_init=1e-4)
mixup = Mixup(mixup_alpha=0.2, label_smoothing=0.1, num_classes=10)
sba = SBA(layers=("layer1", "layer2"), p=0.5)
generator = torch.Generator().manual_seed(0)

for epoch in range(4):
    for rows in torch.randperm(1500).view(-1, 50):
        mixed, targets = mixup(images[rows], labels[rows])  # soft targets (50, 10)
        step = sba(model, mixed, targets, generator=generator, criterion=SoftTargetCrossEntropy())
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    scheduler.step(epoch + 1)

with torch.inference_mode():
    accuracy = (model.eval()(images[1500:]).argmax(1) == labels[1500:]).float().mean()
print(f"accuracy {accuracy:.3f}")
