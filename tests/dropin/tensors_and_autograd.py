"""Tensors, gradients, and a sine fitted five times: by hand, by autograd, by layers, by optimizers.

`python tensors_and_autograd.py` computes in float32, with the argument float64 in float64.
"""

import math
import sys

import numpy as np
import torch
from torch import nn

if "float64" in sys.argv[1:]:
    torch.set_default_dtype(torch.float64)
torch.manual_seed(0)


def headline(text):
    print(f"\n--- {text}")


# ---------------------------------------------------------------------------------------- tensors

headline("creation")
data = [[1, 2], [3, 4]]
x_data = torch.tensor(data)
np_array = np.array(data)
x_np = torch.from_numpy(np_array)
x_ones = torch.ones_like(x_data)
x_rand = torch.rand_like(x_data, dtype=torch.float)
print(f"Ones Tensor: \n {x_ones} \n")
print(f"Random Tensor: \n {x_rand} \n")
shape = (2, 3)
print(torch.rand(shape), torch.ones(shape), torch.zeros(shape), sep="\n")
print(
    torch.arange(0, 10, 2), torch.linspace(0, 1, 5), torch.eye(3), torch.full((2, 2), 7), sep="\n"
)
print(torch.randn(2, 3), torch.randint(0, 10, (5,)), torch.randperm(6), sep="\n")
print(torch.normal(0.0, 2.0, size=(3,)), torch.bernoulli(torch.full((6,), 0.5)), sep="\n")

headline("attributes")
tensor = torch.rand(3, 4)
print(f"Shape of tensor: {tensor.shape}")
print(f"Datatype of tensor: {tensor.dtype}")
print(f"Device tensor is stored on: {tensor.device}")
print(tensor.size(0), tensor.ndim, tensor.numel(), tensor.is_contiguous(), tensor.type())
print(torch.is_tensor(tensor), torch.is_floating_point(x_data), tensor.element_size())
if torch.accelerator.is_available():
    tensor = tensor.to(torch.accelerator.current_accelerator())

headline("indexing and joining")
tensor = torch.ones(4, 4)
print(f"First row: {tensor[0]}")
print(f"First column: {tensor[:, 0]}")
print(f"Last column: {tensor[..., -1]}")
tensor[:, 1] = 0
print(tensor)
t1 = torch.cat([tensor, tensor, tensor], dim=1)
print(t1, torch.stack([tensor[0], tensor[1]]), sep="\n")
numbers = torch.arange(12).reshape(3, 4)
print(numbers[numbers % 2 == 0], numbers[[0, 2]], numbers[1:, ::2], numbers[-1, -1], sep="\n")
print(torch.hstack([numbers, numbers]), torch.vstack([numbers[0], numbers[1]]), sep="\n")
for piece in torch.split(numbers, 2) + torch.chunk(numbers, 2, dim=1) + numbers.unbind(1):
    print(piece.tolist())
print(numbers.T, numbers.view(2, 6), numbers.unsqueeze(0).shape, numbers[None, :, 1:2].squeeze())

headline("arithmetic")
tensor = torch.linspace(-2, 3, 6).view(2, 3)
y1 = tensor @ tensor.T
y2 = tensor.matmul(tensor.T)
y3 = torch.rand_like(y1)
torch.matmul(tensor, tensor.T, out=y3)
print(y1, torch.equal(y1, y2), torch.allclose(y1, y3))
z1 = tensor * tensor
z3 = torch.rand_like(tensor)
torch.mul(tensor, tensor, out=z3)
print(z1, z3 is z1, (z1 == tensor.mul(tensor)).all())
print(tensor.abs().sqrt(), tensor.exp(), torch.sin(tensor), torch.cos(tensor), tensor**3, sep="\n")
print(tensor.round(), tensor.floor(), tensor.ceil(), tensor.sign(), tensor.clamp(-1, 1), sep="\n")
print(tensor.sum(), tensor.mean(dim=0), tensor.std(), tensor.var(1), tensor.norm(), tensor.max())
print(tensor.max(dim=1), tensor.argmin(), tensor.cumsum(1), tensor.prod(1), sep="\n")
print(torch.sort(torch.tensor([3, 1, 2])), torch.topk(tensor.view(-1), 2), sep="\n")
print(torch.bincount(torch.tensor([0, 1, 1, 3])), torch.unique(torch.tensor([3, 1, 3])))
print(
    torch.isclose(tensor, tensor + 1e-9), torch.isnan(tensor / 0), (tensor > 0).nonzero(), sep="\n"
)
print(torch.where(tensor > 0, tensor, 0.0), tensor.masked_fill(tensor < 0, -1.0), sep="\n")
print(torch.logical_and(tensor > -1, tensor < 1), ~(tensor > 0), (tensor > 0) | (tensor < -1))
print(torch.dot(tensor[0], tensor[1]), torch.outer(tensor[0], tensor[1]), sep="\n")
print(5 / (tensor + 3), 7 // x_data, x_data % 2, x_data / 2, x_data + 0.5, x_data.float().mean())

headline("one entry, in place, NumPy")
agg = tensor.sum()
agg_item = agg.item()
print(f"{agg_item:.4f}", type(agg_item))
tensor.add_(5)
print(tensor)
print(tensor.mul_(2).sub_(1).div_(3), torch.zeros(2).fill_(3), tensor.zero_(), sep="\n")
t = torch.ones(5)
n = t.numpy()
t.add_(1)
print(f"t: {t}")
print(f"n: {n}", n.dtype)
n = np.ones(5)
t = torch.from_numpy(n)
np.add(n, 1, out=n)
print(f"t: {t}")
print(t.new_zeros(2), t.tolist(), torch.pi, torch.tensor(math.inf))

# --------------------------------------------------------------------------------------- autograd

headline("a gradient")
x = torch.ones(5)  # input tensor
y = torch.zeros(3)  # expected output
w = torch.randn(5, 3, requires_grad=True)
b = torch.randn(3, requires_grad=True)
z = torch.matmul(x, w) + b
loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y)
print(f"Gradient function for z = {z.grad_fn}")
print(f"Gradient function for loss = {loss.grad_fn}")
print(loss, z, sep="\n")
loss.backward()
print(w.grad, b.grad, sep="\n")

headline("disabling it")
print(z.requires_grad)
with torch.no_grad():
    z = torch.matmul(x, w) + b
print(z.requires_grad, torch.matmul(x, w).detach().requires_grad)
with torch.set_grad_enabled(False):
    print((w * 2).requires_grad)

headline("retain_graph, and a vector-Jacobian product")
inp = torch.eye(4, 5, requires_grad=True)
out = (inp + 1).pow(2).t()
print(out)
out.backward(torch.ones_like(out), retain_graph=True)
print(f"First call\n{inp.grad}")
out.backward(torch.ones_like(out), retain_graph=True)
print(f"\nSecond call\n{inp.grad}")
inp.grad.zero_()
out.backward(torch.ones_like(out), retain_graph=True)
print(f"\nCall after zeroing gradients\n{inp.grad}")
v = torch.tensor([0.1, 1.0, 0.01])
x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
(x * x * x[0]).backward(gradient=v)
print(x.grad, x.is_leaf, (x * 2).is_leaf)
try:
    (x * 2).backward()
except RuntimeError as error:
    print("RuntimeError:", "only a scalar" if "scalar" in str(error) else error)

headline("nodes")
a = torch.tensor([2.0, 3.0], requires_grad=True)
Q = 3 * a**3 - a.exp() / 2
print(Q, Q.grad_fn, Q.grad_fn.next_functions, sep="\n")
for result in (a.view(2, 1), a[0], a.sum(), a.mean(), a.t(), a.sin(), a.std(), a.norm(), a.relu()):
    print(result)
a.mul(2).add_(1).clamp_(0, 6).sum().backward()
print(a.grad)
grads = torch.autograd.grad((a**2).sum(), a)
print(grads)

# ---------------------------------------------------------------------- a sine, in five versions

headline("NumPy")
torch.manual_seed(1)
x = np.linspace(-math.pi, math.pi, 2000)
y = np.sin(x)
a, b, c, d = (torch.randn(()).item() for _ in range(4))
learning_rate = 1e-6
for t in range(200):
    y_pred = a + b * x + c * x**2 + d * x**3
    loss = np.square(y_pred - y).sum()
    if t % 100 == 99:
        print(t, f"{loss:.4f}")
    grad_y_pred = 2.0 * (y_pred - y)
    a -= learning_rate * grad_y_pred.sum()
    b -= learning_rate * (grad_y_pred * x).sum()
    c -= learning_rate * (grad_y_pred * x**2).sum()
    d -= learning_rate * (grad_y_pred * x**3).sum()

headline("tensors, and gradients by hand")
x = torch.linspace(-math.pi, math.pi, 2000)
y = torch.sin(x)
a, b, c, d = (torch.randn(()) for _ in range(4))
for t in range(100):
    y_pred = a + b * x + c * x**2 + d * x**3
    loss = (y_pred - y).pow(2).sum().item()
    if t % 10 == 9:
        print(f"by hand, step {t}: {loss / 2000:.6f}")
    grad_y_pred = 2.0 * (y_pred - y)
    a -= learning_rate * grad_y_pred.sum()
    b -= learning_rate * (grad_y_pred * x).sum()
    c -= learning_rate * (grad_y_pred * x**2).sum()
    d -= learning_rate * (grad_y_pred * x**3).sum()
print(f"Result: y = {a.item():.3f} + {b.item():.3f} x + {c.item():.3f} x^2 + {d.item():.3f} x^3")

headline("autograd")
a, b, c, d = (torch.randn((), requires_grad=True) for _ in range(4))
for t in range(100):
    y_pred = a + b * x + c * x**2 + d * x**3
    loss = (y_pred - y).pow(2).sum()
    if t % 10 == 9:
        print(f"autograd, step {t}: {loss.item() / 2000:.6f}")
    loss.backward()
    with torch.no_grad():
        for p in (a, b, c, d):
            p -= learning_rate * p.grad
            p.grad = None
print(a, loss)

headline("a function of one's own")


class LegendrePolynomial3(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return 0.5 * (5 * input**3 - 3 * input)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        return grad_output * 1.5 * (5 * input**2 - 1)


a, b, c, d = (torch.full((), v, requires_grad=True) for v in (0.0, -1.0, 0.0, 0.3))
for t in range(100):
    P3 = LegendrePolynomial3.apply
    y_pred = a + b * P3(c + d * x)
    loss = (y_pred - y).pow(2).sum()
    if t % 10 == 9:
        print(f"Legendre, step {t}: {loss.item() / 2000:.6f}")
    loss.backward()
    with torch.no_grad():
        for p in (a, b, c, d):
            p -= 5e-6 * p.grad
            p.grad = None
print(P3(c + d * x)[:3])

headline("layers and an optimizer")
xx = x.unsqueeze(-1).pow(torch.tensor([1, 2, 3]))
model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0, 1))
print(model, xx.shape)
loss_fn = nn.MSELoss(reduction="sum")
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
print(optimizer)
for t in range(100):
    y_pred = model(xx)
    loss = loss_fn(y_pred, y)
    if t % 10 == 9:
        print(f"RMSprop, step {t}: {loss.item() / 2000:.6f}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"Result: bias {model[0].bias.item():.3f}, weight {model[0].weight[:, 0].item():.3f}")

headline("a small network, with its learning rate changed by hand")
torch.manual_seed(3)
model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(
    [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 2e-3}], lr=1e-2
)
loss_fn = nn.MSELoss()
inputs, targets = x.unsqueeze(1), y.unsqueeze(1)
for t in range(300):
    if t == 150:
        for group in optimizer.param_groups:
            group["lr"] *= 0.1
        print([f"{group['lr']:.4f}" for group in optimizer.param_groups])
    chosen = torch.randint(0, 2000, (64,))
    loss = loss_fn(model(inputs[chosen]), targets[chosen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if t < 100 and t % 10 == 9:
        print(f"Adam, step {t}: {loss.item():.6f}")
    elif t % 50 == 49:
        print(f"later, step {t}: {loss.item():.6f}")
print(model[2].bias, optimizer.state_dict()["state"][0]["step"])
