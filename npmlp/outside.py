"""What PyTorch has and npmlp does not: the error, and what to use instead where there is something.

Every module of npmlp comes here for a name that it lacks.
"""

from __future__ import annotations

from npmlp.errors import OutsideSubsetError

_CPU = "npmlp computes on the CPU; leave it out, or write .to(device)"
_FIVE = "npmlp has float32, float64, int64, uint8 and bool"
_NO_COMPILING = "not needed: leave it out, npmlp's kernels are compiled already"
_CSV = "write a class with __getitem__ and __len__; npmlp.vision.csv reads files of pixels"

# The last part of the name, after "npmlp." or "Tensor." and the like: what to do.
ADVICE: dict[str, str] = {
    # devices and speed
    "cuda": _CPU,
    "xpu": _CPU,
    "mps": _CPU,
    "pin_memory": _CPU,
    "compile": _NO_COMPILING,
    "jit": _NO_COMPILING,
    "channels_last": "leave it out: images are (N, C, H, W) in memory too",
    "amp": "leave it out: npmlp has no half precision",
    "autocast": "leave it out: npmlp has no half precision",
    "GradScaler": "leave it out: npmlp has no half precision",
    "DataParallel": "leave it out: the kernels use all cores (npmlp.set_num_threads)",
    "distributed": "one process trains here; npmlp.sweep trains many networks in several",
    "multiprocessing": "DataLoader's num_workers is accepted, and everything is in one process",
    # dtypes
    "int": f"{_FIVE}; use .long()",
    "int32": f"{_FIVE}; use int64",
    "int16": f"{_FIVE}; use int64",
    "int8": f"{_FIVE}; use int64",
    "short": f"{_FIVE}; use .long()",
    "half": f"{_FIVE}; use .float()",
    "float16": f"{_FIVE}; use float32",
    "bfloat16": f"{_FIVE}; use float32",
    "complex64": f"{_FIVE}; use NumPy for complex numbers",
    "complex128": f"{_FIVE}; use NumPy for complex numbers",
    "FloatTensor": "use npmlp.tensor(data, dtype=npmlp.float32)",
    "LongTensor": "use npmlp.tensor(data, dtype=npmlp.int64)",
    "BoolTensor": "use npmlp.tensor(data, dtype=npmlp.bool)",
    "DoubleTensor": "use npmlp.tensor(data, dtype=npmlp.float64)",
    # tensors
    "set_printoptions": "tensors print as PyTorch does by default; write numbers with an f-string",
    "einsum": "write it with matmul, sum and transpose, or use numpy.einsum without gradients",
    "multinomial": "numpy.random.Generator.choice draws so; randint and randperm draw as PyTorch",
    "median": "x.sort(dim).values has it in its middle",
    "quantile": "numpy.quantile(x.numpy(), q)",
    "cdist": "((x[:, None] - y) ** 2).sum(-1).sqrt()",
    "addmm": "input + mat1 @ mat2",
    "resize_": "use reshape, or make a new tensor",
    "random_": "npmlp.randint draws whole numbers",
    "register_hook": "retain_grad() keeps the gradient of what is no leaf",
    "storage": "x.numpy() is the array, memory shared",
    "data_ptr": "x.numpy().ctypes.data",
    "functional": "npmlp.autograd.grad gives first derivatives; there are no second ones",
    "Variable": "a Tensor with requires_grad=True is one",
    # layers
    "Conv1d": "Conv2d with a height of 1: x.unsqueeze(2), kernel_size=(1, k)",
    "Conv3d": "npmlp has Linear and Conv2d",
    "ConvTranspose2d": "npmlp has no transposed convolutions; Linear and Unflatten enlarge too",
    "Embedding": "a Parameter indexed by int64: weight[index]",
    "RNN": "npmlp has no recurrent layers; a loop over Linear layers is one",
    "LSTM": "npmlp has no recurrent layers; a loop over Linear layers is one",
    "GRU": "npmlp has no recurrent layers; a loop over Linear layers is one",
    "Transformer": "npmlp has Linear, LayerNorm and softmax, of which it is made",
    "MultiheadAttention": "npmlp has Linear, matmul and softmax, of which it is made",
    "GroupNorm": "LayerNorm or BatchNorm2d",
    "InstanceNorm2d": "LayerNorm or BatchNorm2d",
    "MaxPool1d": "MaxPool2d with a height of 1",
    "BatchNorm3d": "BatchNorm2d",
    "Upsample": "index with repeated positions: x[:, :, rows][:, :, :, columns]",
    "parallel": "leave it out: the kernels use all cores (npmlp.set_num_threads)",
    # optimizers
    "Adagrad": "RMSprop or Adam",
    "Adadelta": "RMSprop or Adam",
    "Adamax": "Adam",
    "NAdam": "Adam or AdamW",
    "RAdam": "Adam or AdamW",
    "LBFGS": "SGD, Adam or AdamW",
    "CyclicLR": "OneCycleLR",
    "CosineAnnealingWarmRestarts": "CosineAnnealingLR, or LambdaLR with a function of your own",
    "SequentialLR": "LambdaLR with a function of your own",
    "swa_utils": "average the state_dicts yourself",
    # data
    "IterableDataset": "write a Dataset with __getitem__ and __len__",
    "WeightedRandomSampler": "write a Sampler whose __iter__ yields positions",
    "get_worker_info": "everything happens in one process",
    "tensorboard": "npmlp.train writes TensorBoard files; in a script use tensorboard's own writer",
    "Resize": "Lambda(lambda image: image.resize((width, height))) on PIL images",
    "CenterCrop": "Lambda(lambda image: image.crop((left, upper, right, lower))) on PIL images",
    "RandomCrop": "RandomAffine(0, translate=(0.1, 0.1))",
    "RandomRotation": "RandomAffine(degrees)",
    "Grayscale": 'Lambda(lambda image: image.convert("L"))',
    "ToPILImage": "PIL.Image.fromarray(x.numpy())",
    "PILToTensor": "ToTensor, which divides by 255",
    "v2": "npmlp.vision.transforms has Compose, ToTensor, Normalize and others by these names",
    "MNIST": "npmlp.vision.idx reads its files; FashionMNIST has the same format",
    "CIFAR10": "npmlp has FashionMNIST; " + _CSV,
    "ImageFolder": _CSV,
    "hub": "npmlp.models has the networks that npmlp has",
    "load_state_dict_from_url": "npmlp.load reads files",
}

_LIST = "docs/subset.md lists what it has of PyTorch"
_ARRAY = "x.numpy() gives the array, with all of NumPy, and from_numpy() comes back"


def outside(path: str, otherwise: str = "") -> OutsideSubsetError:
    """The error for a name such as "npmlp.compile" or "Tensor.cuda", ready to be raised.

    It names what is missing and says what to use instead: what ADVICE has for the name's last
    part, else `otherwise`, else for a Tensor that NumPy is at hand.
    """
    kind, _, name = path.rpartition(".")
    advice = ADVICE.get(name) or otherwise or (_ARRAY if kind == "Tensor" else "")
    instead = f": {advice}" if name in ADVICE else f"; {advice}" if advice else ""
    return OutsideSubsetError(f"{path}: npmlp does not have it{instead}; {_LIST}")
