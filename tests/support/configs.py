"""The configuration files of a model folder, field by field as published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.weights import TINY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.spellings import Spelling
    from support.weights import TinyConfig


def original_config(config: TinyConfig, dtype_name: str) -> dict[str, Any]:
    """`config.json` of `jinaai/jina-embeddings-v3`. Its `model_type` is not what the model is."""
    code = "jinaai/xlm-roberta-flash-implementation"
    return {
        "_name_or_path": "jinaai/jina-embeddings-v3",
        "architectures": ["XLMRobertaModel"],
        "attention_probs_dropout_prob": 0.1,
        "auto_map": {
            "AutoConfig": f"{code}--configuration_xlm_roberta.XLMRobertaFlashConfig",
            "AutoModel": f"{code}--modeling_lora.XLMRobertaLoRA",
            "AutoModelForMaskedLM": f"{code}--modeling_xlm_roberta.XLMRobertaForMaskedLM",
            "AutoModelForPreTraining": f"{code}--modeling_xlm_roberta.XLMRobertaForPreTraining",
        },
        "bos_token_id": 0,
        "classifier_dropout": None,
        "emb_pooler": None,
        "eos_token_id": 2,
        "hidden_act": config.hidden_act,
        "hidden_dropout_prob": 0.1,
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "layer_norm_eps": config.layer_norm_eps,
        "load_trained_adapters": True,
        "lora_adaptations": list(config.tasks),
        "lora_alpha": config.alpha,
        "lora_dropout_p": 0.0,
        "lora_main_params_trainable": False,
        "lora_rank": config.rank,
        "matryoshka_dimensions": list(config.matryoshka_dimensions),
        "max_position_embeddings": config.max_positions,
        "model_type": "xlm-roberta",
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "output_past": True,
        "pad_token_id": 1,
        "position_embedding_type": "rotary",
        "rotary_emb_base": config.rope_base,
        "task_instructions": dict(config.task_instructions),
        "torch_dtype": dtype_name,
        "truncate_dim": None,
        "type_vocab_size": 1,
        "use_cache": True,
        "use_flash_attn": True,
        "vocab_size": config.vocab_size,
    }


def native_config(config: TinyConfig, spelling: Spelling, dtype_name: str) -> dict[str, Any]:
    """`config.json` of `jinaai/jina-embeddings-v3-hf`, as far as it is known.

    It has neither instructions nor dimensions, and no rank or alpha: those lie in the adapters.
    """
    return {
        "architectures": ["JinaEmbeddingsV3Model"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "classifier_dropout": None,
        "dtype": dtype_name,
        "eos_token_id": 2,
        "hidden_act": config.hidden_act,
        "hidden_dropout_prob": 0.1,
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "layer_norm_eps": config.layer_norm_eps,
        "lora_adaptations": list(config.tasks),
        "max_position_embeddings": config.max_positions,
        "model_type": "jina_embeddings_v3",
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "pad_token_id": 1,
        **_rope_config(config, spelling),
        "type_vocab_size": 1,
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def _rope_config(config: TinyConfig, spelling: Spelling) -> dict[str, Any]:
    if spelling.rope == "rope_parameters":
        return {"rope_parameters": {"rope_theta": config.rope_base, "rope_type": "default"}}
    if spelling.rope == "rope_theta":
        return {"rope_theta": config.rope_base}
    if config.rope_base != TINY.rope_base:
        msg = f"rope base {config.rope_base} is not the default and cannot be omitted"
        raise ValueError(msg)
    return {}


def adapter_config(config: TinyConfig) -> dict[str, Any]:
    """The published `adapter_config.json`; it stays the same however the tensors are spelled."""
    embeddings = ["word_embeddings", "token_type_embeddings"]
    attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": None,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "target_modules": [*embeddings, *attention, "fc1", "fc2", "dense"],
    }


def prompts_config(prompts: Mapping[str, str]) -> dict[str, Any]:
    """`config_sentence_transformers.json`."""
    return {
        "__version__": {
            "sentence_transformers": "3.1.0",
            "transformers": "4.41.2",
            "pytorch": "2.3.1+cu121",
        },
        "prompts": dict(prompts),
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
