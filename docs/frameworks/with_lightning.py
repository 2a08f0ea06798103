"""SBA in the training_step of a LightningModule."""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sba import SBA


class Digits(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Sequential(nn.Flatten(), nn.Linear(512, 10)),
        )
        self.sba = SBA(layers=("0",), p=0.5)
        self.generator = torch.Generator().manual_seed(0)

    def training_step(self, batch, _index):
        return self.sba(self.network, *batch, generator=self.generator).loss

    def test_step(self, batch, _index):
        self.log("accuracy", (self.network(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


lightning.seed_everything(0)
pixels, classes = load_digits(return_X_y=True)
digits = TensorDataset(torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(classes))
train, test = torch.utils.data.random_split(digits, [1500, 297])
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
trainer, module = lightning.Trainer(max_epochs=3, gradient_clip_val=1.0, **quiet), Digits()
trainer.fit(module, DataLoader(train, batch_size=50, shuffle=True))
print(f"accuracy {trainer.test(module, DataLoader(test, batch_size=297), verbose=False)[0]['accuracy']:.3f}")
