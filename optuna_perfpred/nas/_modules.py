"""PyTorch modules of layers that are more than a sequence of PyTorch's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn


if TYPE_CHECKING:
    from collections.abc import Sequence


class Recurrent(nn.Module):
    """A recurrent layer that gives its outputs and keeps its states to itself."""

    def __init__(self, cells: nn.LSTM | nn.GRU, dropout: float) -> None:
        super().__init__()
        self.cells = cells
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.dropout(self.cells(inputs)[0])
        return outputs


class Skip(nn.Module):
    """A body of layers, and a way around it to which its result is added."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.body(inputs) + self.shortcut(inputs)
        return outputs


class Graph(nn.Module):
    """A cell: each node is the sum of what its edges make of all nodes before it.

    Args:
        edges:
            Modules of the edges, in the order (0, 1), (0, 2), (1, 2), (0, 3) and so on;
            :obj:`None` where there is none.
    """

    def __init__(self, edges: Sequence[nn.Module | None]) -> None:
        super().__init__()
        self.edges = nn.ModuleDict({str(i): edge for i, edge in enumerate(edges) if edge})
        self.num_nodes = (1 + math.isqrt(1 + 8 * len(edges))) // 2

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        nodes = [inputs]
        edge = 0
        for _ in range(1, self.num_nodes):
            node = torch.zeros_like(inputs)
            for earlier in nodes:
                if str(edge) in self.edges:
                    node = node + self.edges[str(edge)](earlier)
                edge += 1
            nodes.append(node)
        return nodes[-1]


class Positions(nn.Module):
    """Adds a wave of its own frequency to each feature, so that positions can be told apart."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        *_, length, features = inputs.shape
        frequencies = torch.exp(
            torch.arange(0, features, 2, device=inputs.device) * (-math.log(10000.0) / features)
        )
        angles = torch.arange(length, device=inputs.device)[:, None] * frequencies
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return inputs + waves[:, :features].to(inputs.dtype)


class Patches(nn.Module):
    """Cuts images into patches, each a vector, and learns where each of them is."""

    def __init__(self, channels: int, units: int, size: int, length: int, bias: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, units, size, size, bias=bias)
        self.positions = nn.Parameter(torch.randn(length, units) * 0.02)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches: torch.Tensor = self.convolution(images).flatten(2).transpose(1, 2)
        return patches + self.positions


class Attention(nn.Module):
    """Self-attention with several heads; causal ones see what came before only."""

    def __init__(self, features: int, heads: int, causal: bool, bias: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.inputs = nn.Linear(features, 3 * features, bias=bias)
        self.outputs = nn.Linear(features, features, bias=bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.inputs(inputs).chunk(3, dim=-1)
        )
        heads = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        outputs: torch.Tensor = self.outputs(heads.transpose(1, 2).flatten(2))
        return outputs


class Mean(nn.Module):
    """The mean over some dimensions."""

    def __init__(self, dimensions: tuple[int, ...]) -> None:
        super().__init__()
        self.dimensions = dimensions

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.mean(self.dimensions)
