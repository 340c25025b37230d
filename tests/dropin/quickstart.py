"""Quickstart: from images of clothes to a trained, saved and loaded classifier.

`python quickstart.py` computes in float32, `python quickstart.py float64` in float64.
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets
from torchvision.transforms import ToTensor

if "float64" in sys.argv[1:]:
    torch.set_default_dtype(torch.float64)
torch.manual_seed(0)

# ------------------------------------------------------------------------------------------- data

training_data = datasets.FashionMNIST(root="data", train=True, download=True, transform=ToTensor())
test_data = datasets.FashionMNIST(root="data", train=False, download=True, transform=ToTensor())
print(training_data)
print(len(training_data), "training images,", len(test_data), "test images")

batch_size = 64
train_dataloader = DataLoader(
    Subset(training_data, range(9_600)), batch_size=batch_size, shuffle=True
)
test_dataloader = DataLoader(Subset(test_data, range(2_000)), batch_size=batch_size)

for X, y in test_dataloader:
    print(f"Shape of X [N, C, H, W]: {X.shape}")
    print(f"Shape of y: {y.shape} {y.dtype}")
    print("dtype of X:", X.dtype, "| strides:", X.stride(), "| entries:", X.numel())
    print("Mean pixel:", X.mean(), "| deviation:", X.std())
    break

# ------------------------------------------------------------------------------------------ model

if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator().type
elif torch.cuda.is_available():
    device = "cuda"
elif torch.backends.mps.is_available():
    device = "mps"
else:
    device = "cpu"
print(f"Using {device} device")


class NeuralNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, x):
        x = self.flatten(x)
        return self.linear_relu_stack(x)


model = NeuralNetwork().to(device)
print(model)
for name, param in model.named_parameters():
    print(f"Layer: {name} | Size: {param.size()} | Values: {param[:2]}")
print("Parameters:", sum(p.numel() for p in model.parameters() if p.requires_grad))

X = torch.rand(1, 28, 28, device=device)
logits = model(X)
pred_probab = nn.Softmax(dim=1)(logits)
y_pred = pred_probab.argmax(1)
print(f"Predicted class: {y_pred}")
print(logits)

# --------------------------------------------------------------------------------------- training

loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
print(optimizer)
first_losses = []


def train(dataloader, model, loss_fn, optimizer):
    size = len(dataloader.dataset)
    model.train()
    for batch, (X, y) in enumerate(dataloader):
        X, y = X.to(device), y.to(device)

        # Compute prediction error
        pred = model(X)
        loss = loss_fn(pred, y)

        # Backpropagation
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

        if len(first_losses) < 100:
            first_losses.append(loss.item())
        if batch % 50 == 0:
            loss, current = loss.item(), (batch + 1) * len(X)
            print(f"loss: {loss:>7f}  [{current:>5d}/{size:>5d}]")


def test(dataloader, model, loss_fn):
    size = len(dataloader.dataset)
    num_batches = len(dataloader)
    model.eval()
    test_loss, correct = 0, 0
    with torch.no_grad():
        for X, y in dataloader:
            X, y = X.to(device), y.to(device)
            pred = model(X)
            test_loss += loss_fn(pred, y).item()
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()
    test_loss /= num_batches
    correct /= size
    print(f"Test Error: \n Accuracy: {(100 * correct):>0.1f}%, Avg loss: {test_loss:>8f} \n")


epochs = 2
for t in range(epochs):
    print(f"Epoch {t + 1}\n-------------------------------")
    train(train_dataloader, model, loss_fn, optimizer)
    test(test_dataloader, model, loss_fn)
print("Done!")

print("The first 100 losses:")
for i in range(0, 100, 10):
    print("first losses:", " ".join(f"{loss:.6f}" for loss in first_losses[i : i + 10]))

# --------------------------------------------------------------------------------- save and load

torch.save(model.state_dict(), "model.pth")
print("Saved PyTorch Model State to model.pth")

model = NeuralNetwork().to(device)
print(model.load_state_dict(torch.load("model.pth", weights_only=True)))

classes = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
model.eval()
for i in (0, 1, 2, 3, 60):
    x, y = test_data[i][0], test_data[i][1]
    with torch.no_grad():
        x = x.to(device)
        pred = model(x)
        predicted, actual = classes[pred[0].argmax(0)], classes[y]
        print(f'Predicted: "{predicted}", Actual: "{actual}"')

torch.save({"epoch": epochs, "optimizer": optimizer.state_dict()}, "checkpoint.pth")
checkpoint = torch.load("checkpoint.pth", weights_only=True)
optimizer.load_state_dict(checkpoint["optimizer"])
print("Epoch of the checkpoint:", checkpoint["epoch"], "| lr:", optimizer.param_groups[0]["lr"])
