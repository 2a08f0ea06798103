"""SBA in several processes: torchrun --nproc-per-node 2 distributed.py ddp (or fsdp2)."""

import sys

import torch
from sklearn.datasets import load_digits
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from sba import SBA

distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
rank, processes = distributed.get_rank(), distributed.get_world_size()
device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
pixels, classes = load_digits(return_X_y=True)
images = torch.tensor(pixels / 16, dtype=torch.float32, device=device).view(-1, 1, 8, 8)
labels = torch.tensor(classes, device=device)

torch.manual_seed(0)  # alike in every process: initial weights and the order of the data
body = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
model = nn.Sequential(body, nn.Sequential(nn.Flatten(), nn.Linear(512, 10))).to(device)
if sys.argv[1] == "fsdp2":
    mesh = init_device_mesh(device.type, (processes,))
    for module in (*model, model):
        fully_shard(module, mesh=mesh)
else:
    model = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
sba, generator = SBA(layers=("0",), p=0.5), torch.Generator().manual_seed(0)  # alike in every process
for _epoch in range(3):
    for rows in torch.randperm(1500).view(-1, processes, 60 // processes):
        step = sba(model, images[rows[rank]], labels[rows[rank]], generator=generator)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
accuracy = (model(images[1500:]).argmax(1) == labels[1500:]).float().mean()  # in every process, for FSDP
if rank == 0:
    print(f"accuracy {accuracy:.3f}")
distributed.destroy_process_group()
