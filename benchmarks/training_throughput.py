"""How many heartbeats a second does ``fit`` train on, against an ordinary PyTorch loop? Same network, same machine.

    python benchmarks/training_throughput.py            about 1 minute on 2 cores

The ordinary loop is what tutorials show: 1-D layers, float32, a DataLoader, AdamW. Both start from the same weights, take turns,
and the ratio is that of the best rounds. On 2 cores with AMX: about 3. Without bfloat16 in hardware less: see --float32.
"""
import argparse
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from cardiac_ml import devices, models
from cardiac_ml.recipes import heartbeat_network
from cardiac_ml.training import fit


def flat(layer):
    """The 1-D layer that computes what this layer of height 1 computes."""
    if isinstance(layer, nn.Conv2d):
        twin = nn.Conv1d(layer.in_channels, layer.out_channels, layer.kernel_size[1], layer.stride[1], layer.padding[1],
                         bias=layer.bias is not None)
        twin.weight.data = layer.weight.data.squeeze(2).clone()
        return twin
    if isinstance(layer, nn.BatchNorm2d):
        return nn.BatchNorm1d(layer.num_features)
    if isinstance(layer, nn.AvgPool2d):
        return nn.AvgPool1d(layer.kernel_size[1], ceil_mode=layer.ceil_mode)
    for name, child in layer.named_children():
        setattr(layer, name, flat(child))
    return layer
