"""What another package logs as it is imported and no user of this one can act on.

Knows the words alone and imports nothing: it has to be in place before that package.
"""

import logging
from collections.abc import Callable
from typing import Final

#: By logger, how a message begins. bitsandbytes, on processors with AVX512-BF16: it means a kernel
#: for weights in a layout that no base here ever has (`harness.models.four_bits`).
WORDS: Final = {
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward from kernels-community",
}


def hush() -> None:
    """Keeps these messages, and no others, from the terminal and from log files."""
    for name, begin in WORDS.items():
        logging.getLogger(name).addFilter(_without(begin))


def _without(begin: str) -> Callable[[logging.LogRecord], bool]:
    return lambda record: not record.getMessage().startswith(begin)
