"""Language models with heads and adapters: packed trees in, log-probs and values out."""

from espalier.models.loading import from_config, load, load_tokenizer
from espalier.models.model import Model, Outputs
from espalier.models.packing import Packed, pack
from espalier.models.tokenizers import fingerprint, train_tokenizer
from espalier.models.tokens import encode, encode_node, token_path

__all__ = [
    "Model",
    "Outputs",
    "Packed",
    "encode",
    "encode_node",
    "fingerprint",
    "from_config",
    "load",
    "load_tokenizer",
    "pack",
    "token_path",
    "train_tokenizer",
]
