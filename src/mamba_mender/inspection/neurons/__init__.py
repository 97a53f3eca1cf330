"""Neurons, the channels of a scan or a state: which matter, for what, where, and how surely."""

from mamba_mender.inspection.neurons.attention_weighted import attention_weighted_neurons
from mamba_mender.inspection.neurons.consistency import NeuronConsistency, neuron_consistency
from mamba_mender.inspection.neurons.evolution import NeuronEvolution, neuron_evolution
from mamba_mender.inspection.neurons.gradient_guided import gradient_guided_neurons
from mamba_mender.inspection.neurons.importance import NeuronImportance, neuron_importance
from mamba_mender.inspection.neurons.layer_change import LayerChange, layer_change
from mamba_mender.inspection.neurons.neuron_scores import NeuronScores
from mamba_mender.inspection.neurons.rollout import rollout_neurons
from mamba_mender.inspection.neurons.selectivity import NeuronSelectivity, neuron_selectivity

__all__ = [
    "LayerChange",
    "NeuronConsistency",
    "NeuronEvolution",
    "NeuronImportance",
    "NeuronScores",
    "NeuronSelectivity",
    "attention_weighted_neurons",
    "gradient_guided_neurons",
    "layer_change",
    "neuron_consistency",
    "neuron_evolution",
    "neuron_importance",
    "neuron_selectivity",
    "rollout_neurons",
]
