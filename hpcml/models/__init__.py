"""Networks on fields that many ranks share, and the layers that they are built from.

Nothing is imported until it is used.
"""

from hpcml.core.lazy import lazily

_HOMES = {
    "FNO": "hpcml.models.fno",
    "GraphMixer": "hpcml.models.graph_mixer",
    "MeshGraphNet": "hpcml.models.mesh_graph_net",
    "MeshTransformer": "hpcml.models.mesh_transformer",
    "ParticleNet": "hpcml.models.particle_net",
    "PhysicsAttentionNet": "hpcml.models.physics_attention_net",
    "UNet": "hpcml.models.unet",
    "layers": "hpcml.models.layers",
    **dict.fromkeys(("on_space", "twins"), "hpcml.models.on_spaces"),
}
__all__ = ["FNO", "GraphMixer", "MeshGraphNet", "MeshTransformer", "ParticleNet", "PhysicsAttentionNet", "UNet", "on_space", "twins"]
__getattr__, __dir__ = lazily(__name__, _HOMES)
