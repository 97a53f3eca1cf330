"""Networks, and the functions that build, save and load them."""

from mamba_mender.models.checkpoint import load_model, read_card, save_model
from mamba_mender.models.create import create_model, list_models
from mamba_mender.models.position import resize_position
from mamba_mender.models.vim import Vim

__all__ = ["Vim", "create_model", "list_models", "load_model", "read_card", "resize_position", "save_model"]
