"""A network as a program for this machine: `torch.compile`, which writes and builds its operations anew.

Neighbouring operations become one pass over memory, from which small convolutions between many norms and activations
gain most. Building takes about a minute, and needs a C++ compiler where the network runs on a processor. The batches of
an epoch have two sizes where they do not divide it, and each size is built: a program for any size is slower.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from convlens.errors import ConfigError

Forward = Callable[[Tensor], Tensor]


def compiled(network: nn.Module) -> Forward:
    """The network's forward pass, compiled at the first call; it uses and trains the network's own weights.

    Each shape of input is compiled once.

    Raises:
        ConfigError: at the first call, what the compiler says.
    """
    from torch._dynamo.exc import TorchDynamoException

    _be_quiet()
    program = torch.compile(network, dynamic=False)

    def forward(x: Tensor) -> Tensor:
        try:
            return program(x)
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"torch cannot compile this network here ({reason}). Set train.compile=false, or see to a C++ compiler "
                f"and Python's headers."
            ) from None

    return forward


@cache
def _be_quiet() -> None:
    """Compile in this process, for helpers say at their end what concerns nobody; and be silent about a missing GPU."""
    import torch._inductor.config as inductor

    inductor.compile_threads = 1
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
