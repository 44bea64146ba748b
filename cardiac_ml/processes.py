"""Training on several devices under ``torchrun``: who takes part, and batch statistics over all of them."""
import os
from contextlib import contextmanager

import torch
from torch import distributed, nn


def join(device):
    """Meet the other processes that torchrun started; nothing happens where there are none."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def rank_and_size():
    """This process's number and how many there are: (0, 1) for one alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def spread(model, device):
    """The model as several processes train it: gradients are averaged over them. Alone, the model itself."""
    if rank_and_size()[1] == 1:
        return model
    return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def from_first(value):
    """The first process's value, in every process, so that all decide alike."""
    if rank_and_size()[1] == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def summed(x):
    """The sum of a tensor over the processes."""
    if rank_and_size()[1] == 1:
        return x
    total = x.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


class _Sum(torch.autograd.Function):
    """Sum over the processes; the gradient of a sum is the sum of the gradients."""

    @staticmethod
    def forward(context, x):
        return summed(x)

    @staticmethod
    def backward(context, gradient):
        return summed(gradient)


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with the mean and variance of the whole minibatch, of which each process holds a part.

    (torch's own SyncBatchNorm needs GPUs.)
    """

    def _check_input_dim(self, x):
        pass

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        axes, shape = [axis for axis in range(x.ndim) if axis != 1], [1, -1] + [1] * (x.ndim - 2)
        with torch.autocast(x.device.type, enabled=False):
            values = x.float()
            count = values.new_tensor([x.numel() / x.shape[1]])
            *mean, count = _Sum.apply(torch.cat([values.sum(axes), count])).split([x.shape[1], 1])
            mean = mean[0] / count
            centred = values - mean.view(shape)
            variance = _Sum.apply(centred.square().sum(axes)) / count
            self._keep(mean.detach(), variance.detach() * count / (count - 1))
            result = centred * ((variance + self.eps).rsqrt() * self.weight).view(shape) + self.bias.view(shape)
        return result.to(x.dtype)

    @torch.no_grad()
    def _keep(self, mean, variance):
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


@contextmanager
def shared_batch_norm(model):
    """Inside the block, the batch normalisations of ``model`` see the minibatch of all processes."""
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))]
    layers = layers if rank_and_size()[1] > 1 else []
    kinds = [type(layer) for layer in layers]
    for layer in layers:
        layer.__class__ = SharedBatchNorm  # the same weights and names, another forward
    try:
        yield
    finally:
        for layer, kind in zip(layers, kinds):
            layer.__class__ = kind
