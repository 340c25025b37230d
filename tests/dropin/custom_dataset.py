"""A data set of one's own: PNG files and a CSV of labels, and a convolutional network for it.

`python custom_dataset.py` computes in float32, with the argument float64 in float64.
"""

import copy
import csv
import os
import sys
import tempfile

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from PIL import Image
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import datasets, transforms
from torchvision.transforms import Lambda, ToTensor

if "float64" in sys.argv[1:]:
    torch.set_default_dtype(torch.float64)
torch.manual_seed(7)

labels_map = {
    0: "T-Shirt", 1: "Trouser", 2: "Pullover", 3: "Dress", 4: "Coat",
    5: "Sandal", 6: "Shirt", 7: "Sneaker", 8: "Bag", 9: "Ankle Boot",
}  # fmt: skip

# ------------------------------------------------------------------------------ files to begin with

folder = tempfile.TemporaryDirectory()
clothes = datasets.FashionMNIST(root="data", train=True, download=True)
print(type(clothes[0][0]).__name__, clothes[0][0].size, clothes[0][1], clothes.classes[:3])
with open(os.path.join(folder.name, "labels.csv"), "w", newline="") as file:
    writer = csv.writer(file)
    for i in range(2000):
        image, label = clothes[i]
        image.save(os.path.join(folder.name, f"clothes{i:04d}.png"))
        writer.writerow([f"clothes{i:04d}.png", label])


class CustomImageDataset(Dataset):
    def __init__(self, annotations_file, img_dir, transform=None, target_transform=None):
        with open(annotations_file, newline="") as file:
            self.img_labels = [(name, int(label)) for name, label in csv.reader(file)]
        self.img_dir = img_dir
        self.transform = transform
        self.target_transform = target_transform

    def __len__(self):
        return len(self.img_labels)

    def __getitem__(self, idx):
        name, label = self.img_labels[idx]
        with Image.open(os.path.join(self.img_dir, name)) as file:
            image = file.convert("L")
        if self.transform:
            image = self.transform(image)
        if self.target_transform:
            label = self.target_transform(label)
        return image, label


transform = transforms.Compose(
    [transforms.RandomHorizontalFlip(), ToTensor(), transforms.Normalize((0.2860,), (0.3530,))]
)
one_hot = Lambda(lambda y: torch.zeros(10).scatter_(0, torch.tensor(y), value=1))
dataset = CustomImageDataset(
    os.path.join(folder.name, "labels.csv"), folder.name, transform, target_transform=one_hot
)
print(len(dataset), transform)
img, label = dataset[3]
print(img.shape, img.dtype, img.min(), img.max(), label, labels_map[label.argmax().item()])

train_set, valid_set = random_split(
    dataset, [0.8, 0.2], generator=torch.Generator().manual_seed(42)
)
print(len(train_set), len(valid_set), train_set.indices[:8])
train_loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
valid_loader = DataLoader(valid_set, batch_size=100)
train_features, train_labels = next(iter(train_loader))
print(f"Feature batch shape: {train_features.size()}")
print(f"Labels batch shape: {train_labels.size()}")
print("Classes of the batch:", torch.bincount(train_labels.argmax(1), minlength=10))

# -------------------------------------------------------------------------------------- the network


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, stride=2, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 12, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(12)
        self.pool = nn.MaxPool2d(2, 2)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(12 * 2 * 2, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = self.pool(F.relu(self.bn2(self.conv2(x))))
        x = torch.flatten(x, 1)  # all dimensions except the batch
        x = F.relu(self.fc1(self.dropout(x)))
        return self.fc2(x)


net = Net()
print(net)
params = list(net.parameters())
print(len(params), params[0].size(), [name for name, _ in net.named_buffers()][:3])
out = net(torch.randn(4, 1, 28, 28))
print(out.shape, out.grad_fn.name(), out.grad_fn.next_functions[0][0].name())
net.zero_grad()
print("conv1.weight.grad before backward:", net.conv1.weight.grad)
out.backward(torch.randn(4, 10))
print("conv1.weight.grad after backward:", net.conv1.weight.grad[0])
net.zero_grad()

# ----------------------------------------------------------------------------------------- training

criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.5, weight_decay=1e-4, nesterov=True)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
accumulate = 2  # batches to a step
best_accuracy, best_state, first_losses = 0.0, None, []

for epoch in range(3):
    net.train()
    running_loss = 0.0
    for i, data in enumerate(train_loader, 0):
        inputs, labels = data
        loss = criterion(net(inputs), labels)
        (loss / accumulate).backward()
        if len(first_losses) < 100:
            first_losses.append(loss.item())
        running_loss += loss.item()
        if (i + 1) % accumulate == 0:
            norm = nn.utils.clip_grad_norm_(net.parameters(), max_norm=1.0)
            optimizer.step()
            optimizer.zero_grad()
        if i % 25 == 24:
            print(f"[{epoch + 1}, {i + 1:5d}] loss: {running_loss / 25:.6f} norm: {norm:.5f}")
            running_loss = 0.0
    net.eval()
    correct = total = 0
    with torch.no_grad():
        for images, labels in valid_loader:
            outputs = net(images)
            _, predicted = torch.max(outputs.data, 1)
            total += labels.size(0)
            correct += (predicted == labels.argmax(1)).sum().item()
    accuracy = correct / total
    print(f"epoch {epoch + 1}: lr {scheduler.get_last_lr()[0]:g}, accuracy {100 * accuracy:.1f} %")
    if accuracy > best_accuracy:
        best_accuracy, best_state = accuracy, copy.deepcopy(net.state_dict())
    scheduler.step()

print("The first 100 losses:")
for i in range(0, 100, 10):
    print("first losses:", " ".join(f"{loss:.6f}" for loss in first_losses[i : i + 10]))

# ------------------------------------------------------------------------------- what it has learnt

with torch.no_grad():
    for p in net.parameters():
        p.zero_()
print(net.load_state_dict(best_state))
print(net.bn1.num_batches_tracked, net.bn1.running_mean)
correct_pred = dict.fromkeys(labels_map.values(), 0)
total_pred = dict.fromkeys(labels_map.values(), 0)
net.eval()
with torch.no_grad():
    for images, labels in valid_loader:
        predictions = net(images).argmax(dim=1)
        for label, prediction in zip(labels.argmax(1), predictions, strict=True):
            if label == prediction:
                correct_pred[labels_map[label.item()]] += 1
            total_pred[labels_map[label.item()]] += 1
for name, count in correct_pred.items():
    print(f"Accuracy for class: {name:10s} is {100 * count / total_pred[name]:.1f} %")
probabilities = F.softmax(net(images[:1]), dim=1)
values, indices = torch.topk(probabilities, 3)
print([labels_map[i] for i in indices[0].tolist()], "of", f"{values.sum().item():.3f}")
folder.cleanup()
