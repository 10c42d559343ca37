"""Gradients against slopes: what a loss teaches, measured from its values alone."""

import torch

STEP = 1e-5
"""Length of the step along a direction; in float64 the error of a central difference is about its square."""


def check_gradients(loss, parameters):
    """Compare the gradient of every parameter with the slope of the loss along a random direction.

    A part of a loss that is cut off from the gradients keeps the values of the loss, and so its slopes.

    Args:
        loss: Gives the loss, shape ``()``; equal parameters give an equal loss.
        parameters: Tensors by name, in float64, on which the loss depends.
    """
    gradients = torch.autograd.grad(loss(), list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        slope = (_moved(loss, parameter, STEP * direction) - _moved(loss, parameter, -STEP * direction)) / (2 * STEP)
        found = (gradient * direction).sum()
        torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}")


def _moved(loss, parameter, step):
    before = parameter.detach().clone()
    with torch.no_grad():
        parameter += step
    value = loss().detach()
    with torch.no_grad():
        parameter.copy_(before)
    return value
